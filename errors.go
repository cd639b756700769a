package aufs

import "errors"

var (
	// ErrAufsNotSupported is returned by Init when the kernel has no aufs, neither built in nor as a module that a
	// trial mount would have loaded.
	ErrAufsNotSupported = errors.New("AUFS was not found in /proc/filesystems")

	// ErrAufsNested is returned by Init in a user namespace other than the initial one: aufs may not be mounted there.
	ErrAufsNested = errors.New("AUFS cannot be used in non-init user namespace")
)
