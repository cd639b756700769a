// Package bench measures what only go.podman.io/storage has: ApplyDiffStaging. All other benchmarks are in internal/bench of the root module,
// which says how they are run, and runs this one with them.
package bench
