// Only the step after the job matters (post.js), and GitHub runs that one if this one has run.
console.log("At the end of the job: builders are released, the tailnet is left.");
