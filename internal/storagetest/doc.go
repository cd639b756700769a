//go:build linux

// Command storagetest runs the storage library's own end-to-end tests, tests/*.bats, with this module's driver and with the library's
// overlay driver, and compares the results.
//
// It copies the library from the module cache, and builds its command containers-storage with an import of the driver. Some tests name the
// drivers that they are for. In its copy, storagetest adds "aufs" to those that name "overlay".
//
// With -norun it makes the copy only. With -nobuild it runs the tests in a copy that is there, for which it needs no Go: so they run in a
// virtual machine.
package main
