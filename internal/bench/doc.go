// Package bench compares drivers of the storage library: this module's driver on both of its backends, and the
// library's own aufs, overlay and vfs drivers.
//
//	make bench                          on this host
//	make vmbench KERNEL=path/to/bzImage on a kernel with aufs, in a virtual machine
//
// The benchmarks are tests of this package. Two drivers claim the name "aufs", so the package is compiled twice. With the
// tag exclude_graphdriver_aufs the program has this module's driver and the library's overlay and vfs. Without the tag it
// has the library's aufs driver, called "intree". Package rounds runs the programs in turn, one case at a time, so
// that a disturbance of the machine hits all drivers alike. A third program, podman/internal/bench, has the benchmarks of what only
// go.podman.io/storage has, with that library's drivers. benchstat computes medians and spreads from the results, and
// the program in table makes one table of ratios from those.
//
// # What is measured
//
// The name of a benchmark ends in driver=NAME, for benchstat's -col; its other keys with numbers are sizes. Each benchmark
// checks its work: that the mount shows a file of the lowest layer, that the number of changes is right, that the archive
// has all files. The timer is stopped while an operation is prepared and, except in Concurrent, while a check looks at
// files. All drivers get their layers through the driver interface, from the same archives. Only in stacks whose depth
// alone matters, the one file of each upper layer is written directly.
//
// PROFILE=yes shows how much of a program's processor time in the last round went into system calls, and into which. The
// processes of Concurrent have profiles of their own; other child processes of a benchmark have none.
//
// Times are wall time and include the time of child processes: the library's drivers unpack archives in one. Allocated memory
// is only that of the benchmark's own process. This module's driver has the library unpack archives in that process, so its
// allocations for unpacking count, and those of the other drivers do not. peak-B is the maximum of live heap during one more
// operation, above the live heap before, with the garbage collector running all the time.
//
// The kernel's caches are neither dropped nor filled. With every driver, an operation on layers that were just made finds
// them in the cache. Before an operation that removes or unpacks files, everything written is synced.
//
// In the machine of vmbench everything takes at least ten times as long, so it runs only three rounds. The range in the table
// spans the minimum to the maximum of all rounds; with few rounds it says less. Runs of medium size have no layers of 10,000
// files, no store of 10,000 layers and no stack of 500.
//
// # What is fair, and what is not
//
// The in-tree driver runs auplink(8) of aufs-tools before each unmount. Debian no longer has that package, and the virtual machine has
// the program only if AUPLINK names one. Without the program, the driver looks for it in vain and logs that, and a container's changes
// through one name of a linked file are lost to the other names. This module's driver must meet its goals even if the
// in-tree driver runs no auplink, and so takes less time. The results and the title of the column say whether auplink
// was there. The log is formatted, and discarded, for all drivers.
//
// "floor" is not a driver. It is the time that every driver needs for the same work. For GetPut, GetPutWritten on layers
// without whiteouts, and Concurrent, the floor makes only the system calls of a mount and an unmount of the same branches. For
// ApplyDiff it has the library unpack the same archive in an empty directory, as all of these drivers do, but in one
// process, which reads and unpacks in turn. For Create it makes two directories and a file, with the two fsyncs that a
// layer needs to be whole after a power cut. A goal that such a floor misses is called out of reach.
//
// When this module's driver reports success, the data is on the disk, by fsync(2) and syncfs(2); the other drivers do not
// wait for the disk. Create, ApplyDiff and Remove include that time.
//
// Layer ids have 64 digits, as the ids of the library's users do. With short ids the in-tree driver would hand more than
// eighty branches to the kernel in one call, which aufs does not survive.
//
// GetPut and GetPutWritten mount layers that were mounted before: this module's driver keeps on the disk what it found out about
// the layers of a stack. The containers of GetPutWritten were written to through a mount of the same driver. GetFirst uses layers
// that ApplyDiff has just made. It times a container's first Get ("first"), the same Get once more ("later"), and the same Get
// after everything that the driver caches was deleted ("uncached"). The program opens the store anew for each Get, so that only
// the disk holds traces of the pull. The time of GetFirst is the median of a few operations.
//
// ImageStore is GetPut with the layers below the container in an additional image store. The in-tree driver has none, and vfs copies.
//
// Volatile times a Get, the writing of a file with an fsync(2) of it, and a Put. Drivers with overlayfs leave out the sync if the container
// is volatile, and the Put does not sync the file system either. With aufs both happen.
//
// Mapped times how a container with a user namespace of its own is made and mounted. The in-tree driver cannot change
// owners, and is left out. With "owners=shifted", drivers that can do so shift the owners of the image's files by mounts.
// With "owners=changed", all drivers copy the image, as the library has them do if they cannot shift.
//
// The key "parents" is the number of layers below a container. With "marks=each" all of them but the lowest delete a file of the layer
// below and have an opaque directory. If several layers have an opaque directory of the same name, aufs shows the files that all of
// these but the lowest hide. This module's driver corrects that, which takes branches; the in-tree driver does not, and there is no
// goal against it in this case.
//
// ApplyDiffStaging makes a layer as PutLayer of go.podman.io/storage does, and with "part=commit" only what PutLayer does while it has the store
// locked.
//
// CreateLimited and DiskUsageLimited are about layers with quotas. They run where the file system of the stores is mounted with project
// quotas, as in vmbench with FS=xfs. The overlay driver is among them if the stores are on xfs, and if the programs are built with cgo, which its
// quotas take: make bench and make vmbench do so with CGO=yes. The in-tree driver has no quotas.
//
// Run roots are on a tmpfs, as in real use.
//
// A driver that copies, as vfs does, is left out where it has nothing to mount or would have to copy all layers of a deep
// stack. When done, its Diff waits for the next full second.
//
// With the in-tree driver, several processes share one xino file, for which aufs occasionally refuses a mount. The
// benchmark tries again, and reports how often.
//
// The cases include all of graphtest's benchmarks but one: graphtest's DiffApplyN passes no archive to ApplyDiff.
// DiffApply here measures what DiffApplyN is meant to measure.
package bench
