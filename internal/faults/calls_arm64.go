//go:build linux

package faults

import "golang.org/x/sys/unix"

const auditArch = unix.AUDIT_ARCH_AARCH64

// legacyKinds are the calls that newer architectures do not have.
var legacyKinds map[uintptr]kind
