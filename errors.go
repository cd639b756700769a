package aufs

import (
	"errors"

	graphdriver "github.com/containers/storage/drivers"
	"github.com/seed-642172e2/aufs/internal/core/store"
)

var (
	// ErrAufsNotSupported is returned by Init when the kernel has no aufs, neither built in nor as a module that a
	// trial mount would have loaded.
	ErrAufsNotSupported = store.ErrAufsNotSupported

	// ErrAufsNested is returned by Init in a user namespace other than the initial one: aufs may not be mounted there.
	ErrAufsNested = store.ErrAufsNested

	// ErrDamaged is returned for a layer whose layers/<id> a crash, or somebody, has cut short or changed: with it, the
	// layer would be mounted as something else.
	ErrDamaged = store.ErrDamaged
)

// libraryErrors are the errors of the driver that the storage library has as well, each with the library's.
var libraryErrors = []struct{ own, library error }{
	{store.ErrLayerUnknown, graphdriver.ErrLayerUnknown},
	{store.ErrNotSupported, graphdriver.ErrNotSupported},
	{store.ErrPrerequisites, graphdriver.ErrPrerequisites},
	{store.ErrIncompatibleFS, graphdriver.ErrIncompatibleFS},
}

// ofLibrary makes an error of the driver one that matches the library's errors as well. Its text, and all else that it matches, stay.
func ofLibrary(err error) error {
	for _, e := range libraryErrors {
		if errors.Is(err, e.own) {
			err = libraryError{err, e.library}
		}
	}
	return err
}

// libraryError is an error of the driver that is one of the library's as well.
type libraryError struct {
	error
	library error
}

// Unwrap is what errors.Is and errors.As ask for.
func (e libraryError) Unwrap() []error { return []error{e.error, e.library} }
