package store

import (
	"errors"
)

// Errors of those who import this package. The texts of the last four are the storage library's own.
var (
	ErrAufsNotSupported = errors.New("AUFS was not found in /proc/filesystems")
	ErrAufsNested       = errors.New("AUFS cannot be used in non-init user namespace")
	ErrDamaged          = errors.New("the layer's file of parents is damaged")

	// ErrLayerUnknown: the layer is not in the store.
	ErrLayerUnknown = errors.New("unknown layer")
	// ErrNotSupported: the kernel does not have what the driver needs.
	ErrNotSupported = errors.New("driver not supported")
	// ErrPrerequisites: it has, and something else is missing.
	ErrPrerequisites = errors.New("prerequisites for driver not satisfied (wrong filesystem?)")
	// ErrIncompatibleFS: the file system cannot be what layers are on.
	ErrIncompatibleFS = errors.New("backing file system is unsupported for this graph driver")
)
