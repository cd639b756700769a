//go:build linux

// Command guest is the init of the virtual machine of a vmtest. It makes the
// machine usable, runs the tests and the example program, or benchmarks, as
// its plan says, sends the results to the host, and turns the machine off.
//
// Process 1 does nothing but start a worker, which is the same program, and
// reap orphans until the worker has ended.
package main
