//go:build linux

package backend

import (
	"github.com/seed-642172e2/aufs/internal/core/shadow"
	"github.com/seed-642172e2/aufs/internal/core/store"
)

// A Backend is the file system that puts layers on top of one another. There are two: aufs and overlayfs. Most of the driver does not know
// which of them mounts.
type Backend interface {
	// Name returns the backend's name in the option aufs.backend and in Status.
	Name() Name

	// Status returns what the probe of the host found, for Driver.Status.
	Status() [][2]string

	// SupportsVolatile reports whether a mount can leave out syncs, with MountOptions.Volatile.
	SupportsVolatile() bool

	// Prepare makes the layer id ready to be mounted writable on top of others. The caller holds the layer's lock.
	Prepare(id string) error

	// Mount mounts the stack s at s.Target. After an error nothing is mounted, there or elsewhere. The caller holds the lock of s.ID.
	Mount(s Stack) error
}

// A Stack is what a backend mounts: a layer on top of its ancestors.
type Stack struct {
	ID     string
	Target string
	// Image says that the layer is in an additional image store. Its mount is read-only, and no in-use probe needs to know of it.
	Image bool
	// Layers are the layers that are only read, top to bottom: the ancestors, and in a read-only mount the layer itself before them.
	Layers  []shadow.Shown
	Options MountOptions
	// Label is the SELinux label of all files in the mount, or "".
	Label string
}

// An ImageStoreError says that the layers of an additional image store cannot be mounted, and wraps the reason.
type ImageStoreError struct {
	Image store.Home
	Err   error
}

// Error implements error.
func (e *ImageStoreError) Error() string {
	return "using the additional image store " + e.Image.ImageStore() + ": " + e.Err.Error()
}

// Unwrap returns the reason.
func (e *ImageStoreError) Unwrap() error { return e.Err }
