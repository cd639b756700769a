package aufs

import (
	"errors"

	graphdriver "github.com/containers/storage/drivers"
	"github.com/seed-642172e2/aufs/internal/core/store"
)

var (
	// ErrAufsNotSupported is returned by Init if the kernel has no aufs, neither built in nor as a module. If there
	// were a module, the trial mount would have loaded it.
	ErrAufsNotSupported = store.ErrAufsNotSupported

	// ErrAufsNested is returned by Init in a user namespace other than the initial one, where the kernel refuses to
	// mount aufs.
	ErrAufsNested = store.ErrAufsNested

	// ErrDamaged is returned for a layer with a record that was cut short or changed, by a crash or by somebody: that
	// of its parents, its form, its owners, its ids or its quota. If the driver trusted the record, it would show other
	// content in the layer, give files of the layer other owners, or set wrong limits. The error names the record.
	ErrDamaged = store.ErrDamaged
)

// libraryErrors pairs errors of the driver with the storage library's errors of the same meaning.
var libraryErrors = []struct{ own, library error }{
	{store.ErrLayerUnknown, graphdriver.ErrLayerUnknown},
	{store.ErrNotSupported, graphdriver.ErrNotSupported},
	{store.ErrPrerequisites, graphdriver.ErrPrerequisites},
	{store.ErrIncompatibleFS, graphdriver.ErrIncompatibleFS},
}

// ofLibrary returns an error with the text of err. It matches everything that err matches. For each own in
// libraryErrors that err matches, it also matches library.
func ofLibrary(err error) error {
	for _, e := range libraryErrors {
		if errors.Is(err, e.own) {
			err = libraryError{err, e.library}
		}
	}
	return err
}

// libraryError is an error of the driver that also matches one of the library's.
type libraryError struct {
	error
	library error
}

// Unwrap is for errors.Is and errors.As.
func (e libraryError) Unwrap() []error { return []error{e.error, e.library} }
