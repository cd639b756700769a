//go:build linux

// Command vmtest runs the tests of this module, and its example program, on
// a kernel of one's choice in a virtual machine. It needs QEMU, Debian's
// busybox-static and the mkfs program of the file system, but not root.
//
//	make vmtest KERNEL=path/to/bzImage FS=xfs BACKENDS="aufs overlay"
//
// The kernel must have built in an 8250 serial console, gzip for the
// initramfs, devtmpfs and tmpfs. Virtio-pci, virtio-blk, virtio-console, the
// file system under test, overlayfs and aufs may be modules, which MODULES
// says the directory of: that of an installed kernel, or an unpacked package.
// CONFIG_IKCONFIG_PROC is welcome, as it tells the branch limit of aufs.
//
// The tests are those of the root package, of each package below internal/core
// that has test files, and of the root package of the podman module. Each
// package is a suite: a test binary of its own, which runs in a directory with
// the package's testdata. All suites together have three quarters of the time
// limit; the rest is for the boot and the example.
//
// With an image (-image), as "make image" makes one, the tests of package
// imagetest are run as well.
//
// With -bench FILE the guest runs the benchmarks of package bench in place of
// tests and example, and their results are written to the file.
//
// The run is good if the tests and the example program are, on all backends
// that were asked for, and the kernel complained about nothing. A test that
// makes aufs or overlayfs complain on purpose says so by writing the marks
// "vmtest: expect mount messages" and, afterwards, "vmtest: expect no mount
// messages" to /dev/kmsg.
//
// What the kernel wrote to its console is left in build/vmtest-console.log.
package main
