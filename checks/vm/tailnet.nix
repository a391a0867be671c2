# The control server of a tailnet, and what its members need to find it. The lab has the same, from the same files.
{ lib, pkgs }:
let
  port = 8443;
  certificate =
    address:
    pkgs.runCommand "muster-tailnet-certificate" { nativeBuildInputs = [ pkgs.openssl ]; } ''
      mkdir $out
      openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 36500 -subj /CN=control \
        -addext subjectAltName=IP:${address} -keyout $out/key.pem -out $out/cert.pem
    '';
  addressOf = nodes: nodes.control.networking.primaryIPAddress;
in
{
  control =
    { nodes, ... }:
    let
      address = addressOf nodes;
    in
    {
      environment.systemPackages = [ pkgs.headscale ];
      environment.etc = {
        "headscale/config.yaml".text = lib.replaceStrings [ "ADDRESS" "PORT" ] [ address (toString port) ] (
          builtins.readFile ../lab/driver/headscale.yaml
        );
        "lab/tailnet-url".text = "https://${address}:${toString port}\n";
        "headscale/cert.pem".source = "${certificate address}/cert.pem";
        "headscale/key.pem".source = "${certificate address}/key.pem";
        # Scenarios write another one.
        "headscale/policy.json" = {
          source = ../lab/driver/policy.json;
          mode = "0644";
        };
      };
      systemd.services.headscale = {
        wantedBy = [ "multi-user.target" ];
        wants = [ "network-online.target" ];
        after = [ "network-online.target" ];
        path = [ pkgs.headscale ];
        serviceConfig.StateDirectory = "headscale";
        script = ''
          echo $$ >/run/headscale.lab
          exec headscale serve
        '';
        # It is up once it answers.
        postStart = "until [ -S /run/headscale.sock ]; do sleep 0.1; done";
      };
    };

  member =
    { nodes, ... }:
    {
      services.tailscale = {
        enable = true;
        extraDaemonFlags = [ "--no-logs-no-support" ];
      };
      # Nobody's makers are asked for anything.
      systemd.services.tailscaled.environment = {
        TS_NO_LOGS_NO_SUPPORT = "true";
        TS_PANIC_IF_HIT_MAIN_CONTROL = "1";
        TS_DISABLE_PORTMAPPER = "1";
        TS_ASSUME_NETWORK_UP_FOR_TEST = "1";
      };
      security.pki.certificateFiles = [ "${certificate (addressOf nodes)}/cert.pem" ];
      environment.etc."lab/tailnet-url".text = nodes.control.environment.etc."lab/tailnet-url".text;
    };
}
