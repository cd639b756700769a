//go:build linux

// Command vmtest boots a kernel in a virtual machine and runs the tests of this
// module, and its example program, there. It needs QEMU, Debian's
// busybox-static and the mkfs program of the file system, but not root.
//
//	make vmtest KERNEL=path/to/bzImage FS=xfs BACKENDS="aufs overlay"
//
// The kernel must have an 8250 serial console, or a PL011 on arm64, gzip for the
// initramfs, devtmpfs and tmpfs built in. Virtio-pci, virtio-blk, virtio-console, the
// file system under test, overlayfs and aufs may be modules. MODULES names
// the directory that holds them: the module directory of an installed kernel,
// or an unpacked package. CONFIG_IKCONFIG_PROC helps, because the kernel's
// configuration holds the branch limit of aufs.
//
// The tests are those of the root package, of each package below internal/core
// that has test files, and of the root package of the podman module. Each
// package is a suite: a test binary of its own, which runs in a directory with
// the package's testdata. All suites together may use three quarters of the
// time limit; the rest is for the boot and the example.
//
// With -image, which names an image that "make image" has made, vmtest also
// runs the tests of package imagetest.
//
// With -bench FILE the guest runs the benchmarks of package bench instead of
// the tests and the example, and vmtest writes their results to the file.
//
// With -system DIRECTORY and -command COMMAND the guest runs the command in place of
// the tests, in a copy of an installed Linux system that is in the directory. Its /tmp
// is the file system under test. The kernel must have ext4 for the copy, and cgroups
// version 2. vmtest must run as root then, to copy the owners of files.
//
// The run succeeds if the tests and the example program succeed on all
// requested backends, and the kernel complains about nothing. A test that
// makes aufs or overlayfs complain on purpose announces that in /dev/kmsg: it
// writes "vmtest: expect message TEXT" before the complaint and "vmtest:
// expect no message" after it.
//
// The kernel's console output is kept in build/vmtest-console.log.
package main
