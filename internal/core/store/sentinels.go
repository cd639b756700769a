package store

import "errors"

// The errors that the skin, which is the package that programs import, exports as its own. The skin's comments say what they mean.
var (
	ErrAufsNotSupported = errors.New("AUFS was not found in /proc/filesystems")
	ErrAufsNested       = errors.New("AUFS cannot be used in non-init user namespace")
	ErrDamaged          = errors.New("a record of the layer is damaged")
)

// The errors that the storage libraries also have, with the same texts. The skin returns errors that match the library's as well as these.
var (
	// ErrLayerUnknown says that the layer is not in the store.
	ErrLayerUnknown = errors.New("unknown layer")
	// ErrNotSupported says that the kernel does not have what the driver needs.
	ErrNotSupported = errors.New("driver not supported")
	// ErrPrerequisites says that something other than the kernel is missing: a right, or a usable path.
	ErrPrerequisites = errors.New("prerequisites for driver not satisfied (wrong filesystem?)")
	// ErrIncompatibleFS says that layers cannot be on this file system.
	ErrIncompatibleFS = errors.New("backing file system is unsupported for this graph driver")
)
