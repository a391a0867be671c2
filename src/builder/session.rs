//! One connection to the agent.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::net::unix::UCred;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{LAST_WORDS, News, Settings, UNHEARD, may_order};
use crate::edge::{ancestry, discover, users};
use crate::policy::claims::SessionId;
use crate::wire::agent::{self, AgentError, Ask, Receiver, Sender, Tell};

/// For the first words.
const HELLO: Duration = Duration::from_secs(5);

/// Serves it until it ends, or `done` and everything is said.
pub(super) async fn serve(
    stream: UnixStream,
    process: UCred,
    id: SessionId,
    settings: Arc<Settings>,
    news: mpsc::Sender<News>,
    done: CancellationToken,
) {
    let uid = process.uid();
    let (peer, hears, says) = match timeout(HELLO, agent::open(stream)).await {
        Ok(Ok(opened)) => opened,
        Ok(Err(error)) => return tracing::warn!(uid, %error, "a peer does not keep to the protocol"),
        Err(_) => return tracing::debug!(uid, "a peer said nothing"),
    };
    let (tell, told) = mpsc::channel(UNHEARD);
    let weak = tell.downgrade();
    if news.send(News::Opened(id, tell)).await.is_err() {
        return;
    }
    let caller = Caller { uid, pid: process.pid(), says_from: peer.from, id, settings, news, tell: weak };
    let speaking = speak(says, told, done);
    tokio::pin!(speaking);
    let asks_no_more = tokio::select! {
        ended = caller.listen(hears) => {
            match ended {
                Ok(()) | Err(AgentError::Line(_)) => {}
                Err(error) => tracing::warn!(uid, %error, "a session does not keep to the protocol"),
            }
            true
        }
        () = &mut speaking => false,
    };
    let _ = caller.news.send(News::Closed(id)).await;
    if asks_no_more {
        let _ = timeout(LAST_WORDS, speaking).await;
    }
}

/// Says what there is to say; when all is `done`, what is left of it, and no more.
async fn speak(mut says: Sender<UnixStream>, mut told: mpsc::Receiver<Tell>, done: CancellationToken) {
    loop {
        let tell = tokio::select! {
            biased;
            tell = told.recv() => tell,
            () = done.cancelled() => None,
        };
        match tell {
            Some(tell) if says.tell(&tell).await.is_ok() => {}
            _ => return,
        }
    }
}

struct Caller {
    uid: u32,
    pid: Option<i32>,
    /// Where its login comes from, by its own word.
    says_from: Option<IpAddr>,
    id: SessionId,
    settings: Arc<Settings>,
    news: mpsc::Sender<News>,
    /// Weak, so that the session ends when the loop lets it go.
    tell: mpsc::WeakSender<Tell>,
}

impl Caller {
    async fn listen(&self, mut hears: Receiver<UnixStream>) -> Result<(), AgentError> {
        let mut may_claim = None;
        while let Some(ask) = hears.ask().await? {
            let allowed = match &ask {
                Ask::Status => Ok(()),
                Ask::Drain | Ask::Undrain | Ask::Release => self.may_order(),
                Ask::Claim { .. } | Ask::GiveBack => match &may_claim {
                    Some(known) => Result::clone(known),
                    None => may_claim.insert(self.may_claim().await).clone(),
                },
            };
            match allowed {
                Ok(()) => {
                    let by = users::name_of(self.uid);
                    if self.news.send(News::Asked(self.id, ask, by)).await.is_err() {
                        return Ok(());
                    }
                }
                Err(why) => {
                    tracing::warn!(uid = self.uid, why, "refused");
                    let Some(tell) = self.tell.upgrade() else { return Ok(()) };
                    let _ = tell.send(Tell::Refused { why }).await;
                }
            }
        }
        Ok(())
    }

    fn may_order(&self) -> Result<(), String> {
        if may_order(self.uid) {
            return Ok(());
        }
        Err(format!("{} may not order anything here; root may", users::name_of(self.uid)))
    }

    /// By the login, and where tags are asked for by those of the machine that it comes from as well.
    async fn may_claim(&self) -> Result<(), String> {
        if !may_order(self.uid) && !self.settings.users.contains(&self.uid) {
            let name = users::name_of(self.uid);
            return Err(format!(
                "{name} may not claim this builder: its agent wants --allow-user {name} for that"
            ));
        }
        let tags = &self.settings.tags;
        if tags.is_empty() {
            return Ok(());
        }
        let Some(from) = self.from() else { return Err(from_nowhere(tags)) };
        let whois = discover::whois(from).await;
        judge(tags, from, whois.map(|whois| (whois.node, whois.tags)))
    }

    /// What its ssh server says, as far as we can see it, counts more than its own word.
    fn from(&self) -> Option<IpAddr> {
        let pid = self.pid.and_then(|pid| u32::try_from(pid).ok());
        pid.and_then(ancestry::login_address).or(self.says_from)
    }
}

fn list(tags: &BTreeSet<String>) -> String {
    tags.iter().map(String::as_str).collect::<Vec<_>>().join(" or ")
}

fn from_nowhere(wanted: &BTreeSet<String>) -> String {
    format!(
        "a login of which nothing says where it comes from may not claim this builder, which wants the tag {}; over \
         Tailscale SSH, an agent must be root's to see it",
        list(wanted)
    )
}

fn judge(
    wanted: &BTreeSet<String>,
    from: IpAddr,
    whois: Result<(String, BTreeSet<String>), String>,
) -> Result<(), String> {
    let list = list(wanted);
    match whois {
        Ok((_, tags)) if !tags.is_disjoint(wanted) => Ok(()),
        Ok((node, _)) => {
            Err(format!("{node} ({from}) may not claim this builder: it has not the tag {list}"))
        }
        Err(why) => Err(format!(
            "{from} may not claim this builder: whether it has the tag {list}, nobody knows: {why}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_a_tailnet_one_of_the_tags_is_needed() {
        let set = |tags: &[&str]| tags.iter().map(|tag| (*tag).to_owned()).collect::<BTreeSet<_>>();
        let from = "100.64.0.9".parse().expect("an address");
        let check = |has: &[&str]| judge(&set(&["tag:a", "tag:b"]), from, Ok(("desk".to_owned(), set(has))));
        assert_eq!(check(&["tag:x", "tag:b"]), Ok(()));
        let said = check(&["tag:x"]).expect_err("another tag");
        assert_eq!(said, "desk (100.64.0.9) may not claim this builder: it has not the tag tag:a or tag:b");
        let said = judge(&set(&["tag:a"]), from, Err("no tailscaled".to_owned())).expect_err("nobody knows");
        assert!(said.ends_with("nobody knows: no tailscaled"), "{said}");
    }
}
