package aufs

import "errors"

var (
	// ErrAufsNotSupported is returned by Init when the kernel has no aufs, neither built in nor as a module that a
	// trial mount would have loaded.
	ErrAufsNotSupported = errors.New("AUFS was not found in /proc/filesystems")

	// ErrAufsNested is returned by Init in a user namespace other than the initial one: aufs may not be mounted there.
	ErrAufsNested = errors.New("AUFS cannot be used in non-init user namespace")

	// ErrDamaged is returned for a layer whose layers/<id> a crash, or somebody, has cut short or changed: with it, the
	// layer would be mounted as something else.
	ErrDamaged = errors.New("the layer's file of parents is damaged")
)
