//go:build linux && (amd64 || arm64)

package faults

import (
	"golang.org/x/sys/unix"
)

// A kind is a kind of system call. It refers to arguments by their indices.
type kind struct {
	name string
	// at are file descriptors of directories, each with a path after it; paths are paths by themselves; files are file
	// descriptors of the files that the call is about.
	at, paths, files []int
	// flags is the argument with the flags of a call that opens a file; 0 for all other calls.
	flags int
	// content says that the call writes content. It is held only if it writes to a regular file.
	content bool
}

// kinds are the calls that are held, by number. legacyKinds has the calls that only amd64 has.
var kinds = map[uintptr]kind{
	unix.SYS_OPENAT:    {name: "openat", at: []int{0}, flags: 2},
	unix.SYS_MKDIRAT:   {name: "mkdirat", at: []int{0}},
	unix.SYS_MKNODAT:   {name: "mknodat", at: []int{0}},
	unix.SYS_UNLINKAT:  {name: "unlinkat", at: []int{0}},
	unix.SYS_RENAMEAT:  {name: "renameat", at: []int{0, 2}},
	unix.SYS_RENAMEAT2: {name: "renameat2", at: []int{0, 2}},
	unix.SYS_LINKAT:    {name: "linkat", at: []int{0, 2}},
	unix.SYS_SYMLINKAT: {name: "symlinkat", at: []int{1}},

	unix.SYS_FCHMODAT:     {name: "fchmodat", at: []int{0}},
	unix.SYS_FCHMODAT2:    {name: "fchmodat2", at: []int{0}},
	unix.SYS_FCHMOD:       {name: "fchmod", files: []int{0}},
	unix.SYS_FCHOWNAT:     {name: "fchownat", at: []int{0}},
	unix.SYS_FCHOWN:       {name: "fchown", files: []int{0}},
	unix.SYS_UTIMENSAT:    {name: "utimensat", at: []int{0}},
	unix.SYS_SETXATTR:     {name: "setxattr", paths: []int{0}},
	unix.SYS_LSETXATTR:    {name: "lsetxattr", paths: []int{0}},
	unix.SYS_FSETXATTR:    {name: "fsetxattr", files: []int{0}},
	unix.SYS_REMOVEXATTR:  {name: "removexattr", paths: []int{0}},
	unix.SYS_LREMOVEXATTR: {name: "lremovexattr", paths: []int{0}},
	unix.SYS_FREMOVEXATTR: {name: "fremovexattr", files: []int{0}},

	unix.SYS_WRITE:           {name: "write", files: []int{0}, content: true},
	unix.SYS_PWRITE64:        {name: "pwrite64", files: []int{0}, content: true},
	unix.SYS_WRITEV:          {name: "writev", files: []int{0}, content: true},
	unix.SYS_SENDFILE:        {name: "sendfile", files: []int{0}, content: true},
	unix.SYS_SPLICE:          {name: "splice", files: []int{2}, content: true},
	unix.SYS_COPY_FILE_RANGE: {name: "copy_file_range", files: []int{2}, content: true},
	unix.SYS_FTRUNCATE:       {name: "ftruncate", files: []int{0}},
	unix.SYS_TRUNCATE:        {name: "truncate", paths: []int{0}},
	unix.SYS_FALLOCATE:       {name: "fallocate", files: []int{0}},

	unix.SYS_FSYNC:     {name: "fsync", files: []int{0}},
	unix.SYS_FDATASYNC: {name: "fdatasync", files: []int{0}},
	unix.SYS_SYNCFS:    {name: "syncfs", files: []int{0}},
	unix.SYS_SYNC:      {name: "sync"},

	unix.SYS_QUOTACTL_FD:   {name: "quotactl_fd", files: []int{0}},
	unix.SYS_MOUNT:         {name: "mount", paths: []int{0, 1}},
	unix.SYS_UMOUNT2:       {name: "umount2", paths: []int{0}},
	unix.SYS_CHROOT:        {name: "chroot", paths: []int{0}},
	unix.SYS_PIVOT_ROOT:    {name: "pivot_root", paths: []int{0, 1}},
	unix.SYS_FSOPEN:        {name: "fsopen"},
	unix.SYS_FSCONFIG:      {name: "fsconfig"},
	unix.SYS_FSMOUNT:       {name: "fsmount"},
	unix.SYS_OPEN_TREE:     {name: "open_tree", at: []int{0}},
	unix.SYS_MOVE_MOUNT:    {name: "move_mount", at: []int{0, 2}},
	unix.SYS_MOUNT_SETATTR: {name: "mount_setattr", at: []int{0}},
}

// kindOf returns the kind of the call number nr, and reports whether that call is held.
func kindOf(nr uintptr) (kind, bool) {
	if k, ok := kinds[nr]; ok {
		return k, true
	}
	k, ok := legacyKinds[nr]
	return k, ok
}
