// Package faults runs a program and holds its system calls that change files or mounts, one after the other, until a
// test decides what becomes of each: the call is made, it fails with an error that the test chooses, or the program is
// killed before it. So a test can stop an operation at each of its steps, and the code under test need not know of it.
//
// A seccomp filter with a listener holds the calls (seccomp_unotify(2)), which takes Linux 5.5 and CAP_SYS_ADMIN. It
// holds the calls of the program's children as well.
//
// The program calls Launch first; it may be the test program itself.
package faults
