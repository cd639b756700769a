//go:build linux

package faults

import "golang.org/x/sys/unix"

const auditArch = unix.AUDIT_ARCH_X86_64

// legacyKinds are the calls that newer architectures do not have.
var legacyKinds = map[uintptr]kind{
	unix.SYS_OPEN:      {name: "open", paths: []int{0}, flags: 1},
	unix.SYS_CREAT:     {name: "creat", paths: []int{0}},
	unix.SYS_MKDIR:     {name: "mkdir", paths: []int{0}},
	unix.SYS_MKNOD:     {name: "mknod", paths: []int{0}},
	unix.SYS_RMDIR:     {name: "rmdir", paths: []int{0}},
	unix.SYS_UNLINK:    {name: "unlink", paths: []int{0}},
	unix.SYS_RENAME:    {name: "rename", paths: []int{0, 1}},
	unix.SYS_LINK:      {name: "link", paths: []int{0, 1}},
	unix.SYS_SYMLINK:   {name: "symlink", paths: []int{1}},
	unix.SYS_CHMOD:     {name: "chmod", paths: []int{0}},
	unix.SYS_CHOWN:     {name: "chown", paths: []int{0}},
	unix.SYS_LCHOWN:    {name: "lchown", paths: []int{0}},
	unix.SYS_UTIME:     {name: "utime", paths: []int{0}},
	unix.SYS_UTIMES:    {name: "utimes", paths: []int{0}},
	unix.SYS_FUTIMESAT: {name: "futimesat", at: []int{0}},
}
