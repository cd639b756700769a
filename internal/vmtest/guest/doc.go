//go:build linux

// Command guest is the init of the virtual machine of a vmtest. It sets the
// machine up, runs the tests and the example program, or benchmarks, as its
// plan says, sends the results to the host, and turns the machine off.
//
// Process 1 sets the machine up, starts a worker, which is the same program,
// reaps orphans until the worker ends, and turns the machine off. The worker
// does the rest.
package main
