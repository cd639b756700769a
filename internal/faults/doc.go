// Package faults runs a program whose system calls that change files or mounts wait, one after the other, until a test says
// what becomes of each: it is made, it fails with an error that the test chooses, or the program is killed instead of it.
// So a test can stop an operation at each of its steps, without a word about that in the code under test.
//
// The calls are held by a seccomp filter with a listener (seccomp_unotify(2)), which takes Linux 5.5 and CAP_SYS_ADMIN.
// Children of the program are held as well.
//
// The program calls Launch first; it may be the test program itself.
package faults
