// Package bench measures drivers of the storage library side by side: this module's driver on both of its backends, and
// the library's own aufs, overlay and vfs drivers.
//
//	make bench                          on this host
//	make vmbench KERNEL=path/to/bzImage on a kernel with aufs, in a virtual machine
//
// The benchmarks are tests of this package. They are compiled twice, because two drivers claim the name "aufs": with the
// tag exclude_graphdriver_aufs the program has this module's driver and the library's overlay and vfs, and without the tag
// it has the library's aufs driver, called "intree". Package rounds runs the two programs in turn, one case at a time, so
// that what disturbs the machine hits all drivers alike. benchstat makes medians and spreads of that, and the program in
// table makes one table of ratios.
//
// # What is measured
//
// A benchmark's name ends in driver=NAME, for benchstat's -col; its other keys with numbers are sizes. Each checks that it
// did what it measures: that the mount shows a file of the lowest layer, that there are as many changes as there have to
// be, that the archive has all files. That, and what has to be made afresh for each operation, is done with the timer
// stopped. All drivers get their layers through the driver interface, from the same archives.
//
// PROFILE=yes shows, of the last round, what of a program's processor time was in system calls, and in which. The processes of
// Concurrent have profiles of their own; no other child processes of a benchmark have.
//
// Times are wall time, and include what child processes do: the library's drivers unpack archives in one. Allocated memory is
// that of the benchmark's own process: this module's driver has the library unpack in it, and what that allocates counts, as it
// does not with the others. What is called peak-B is the most that was live on its heap during one more
// operation, with the garbage collector at work all the time, above what was there before.
//
// The kernel's caches are neither dropped nor filled. An operation on layers that were just made finds them in the cache,
// with every driver; before an operation that removes or unpacks files, all that was written is synced.
//
// In the machine of vmbench everything takes ten times as long and more, so that it has three rounds. What the table calls a
// range reaches from the least to the most of all rounds; the fewer they are, the less that says. Of medium size are runs with no
// layers of 10,000 files, no store of 10,000 layers and no stack of 500.
//
// # What is fair, and what is not
//
// The in-tree driver runs auplink(8) of aufs-tools before each unmount. Debian has that package no longer, and the virtual machine has
// the program only if AUPLINK names one. Where there is none, the driver looks for it in vain and logs that, and what a container
// has written through one name of a linked file is lost to the others. The goals are to be met without it. The results and the
// title of the column say whether there was one. The log is formatted, and goes nowhere, for all drivers.
//
// What is called "floor" is no driver; it is what no driver can be faster than, if it does the same. For GetPut, GetPutWritten on
// layers without whiteouts, goroutines and processes it makes the system calls of a mount and an unmount of the same branches, and
// nothing else; for ApplyDiff it has the library unpack the same archive in an empty directory, as all of these drivers do, and
// reads it in turns with that; and for Create it makes two directories and a file, with the two fsyncs that a layer takes which is
// whole after a power cut. A goal that such a floor misses is called out of reach.
//
// This module's driver has on the disk what it says is done, by fsync(2) and syncfs(2); the others do not wait for the disk.
// That is in the figures of Create, ApplyDiff and Remove.
//
// Ids of layers have 64 digits, as those of the library's users have. With short ones the in-tree driver would hand more
// than eighty branches to the kernel in one call, which aufs does not survive.
//
// GetPut and GetPutWritten mount again what was mounted before: this module's driver keeps on the disk what it has found out about
// the layers of a stack. The containers of GetPutWritten were written to through a mount of the same driver. GetFirst is about
// layers that ApplyDiff has just made: a container's first Get ("first"), the same Get once more ("later"), and the same Get after
// all that the driver keeps was deleted ("uncached"). The program opens the store anew for each, so that nothing is left of the
// pull but what is on the disk. Its time is the median of a few operations.
//
// The key "parents" is how many layers are below a container. With "marks=each" all of them but the lowest delete a file of the
// layer below and have an opaque directory. Where several layers have one of the same name, aufs shows what all but the lowest of these
// hide. This module's driver puts that right, which takes branches; the in-tree driver does not, and has no goal there.
//
// Run roots are on a tmpfs, as they are in life.
//
// A driver that copies, as vfs does, is left out where it has nothing to mount, or would have to copy all layers of a deep
// stack. Its Diff waits for the next full second, when it is done.
//
// The in-tree driver of several processes has them share one xino file, for which aufs refuses a mount now and then. The
// benchmark tries again, and tells how often.
//
// All of graphtest's benchmarks are among the cases but one: its DiffApplyN passes no archive to ApplyDiff. DiffApply here
// does what that one is for.
package bench
