//go:build linux

package backend

import "github.com/seed-642172e2/aufs/internal/core/shadow"

// Backend is the file system that puts layers on top of one another. There are two, aufs and overlayfs; the rest of the
// driver does not know which one it has.
type Backend interface {
	// Name is what aufs.backend and Status call it.
	Name() Name

	// Status returns what the probe of the host found, for Driver.Status.
	Status() [][2]string

	// Prepare makes the layer id one that Mount can mount writable, on top of others. The caller holds its lock.
	Prepare(id string) error

	// Mount mounts the stack s at s.Target. When it fails nothing is mounted, there or elsewhere. The caller holds the lock
	// of s.ID.
	Mount(s Stack) error
}

// Stack is what a backend mounts: a layer on top of its ancestors.
type Stack struct {
	ID     string
	Target string
	// Layers are those that are only read, top to bottom: the ancestors and, before them, in a read-only mount, the layer itself.
	Layers  []shadow.Shown
	Options MountOptions
	// Label is the SELinux label of all files in the mount, or "".
	Label string
}
