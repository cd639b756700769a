//go:build linux

package aufs

// backend is the file system that puts layers on top of one another. There are two, aufs and overlayfs; the rest of the
// driver does not know which one it has.
type backend interface {
	// name is what aufs.backend and Status call it.
	name() backendName

	// status returns what the probe of the host found, for Driver.Status.
	status() [][2]string

	// records are those that it keeps of stacks.
	records() stackRecords

	// mount mounts the stack s at s.target. When it fails nothing is mounted, there or elsewhere, and the layer is at
	// rest. The caller holds the lock of s.id.
	mount(s stack) error
}

// stack is what a backend mounts: a layer on top of its ancestors.
type stack struct {
	id     string
	target string
	// parents are the ids of the ancestors, nearest first; parentDirs their diff directories.
	parents    []string
	parentDirs []string
	// known is how the backend mounts the parents, by its record of the stack; "": it is not known, and stamp is what
	// stackStamp says of all ancestors, those that do not show through as well.
	known string
	stamp string
	// marked are the layers of the store that are not in aufs form, as of the moment.
	marked  map[string]bool
	options mountOptions
	// label is the SELinux label of all files in the mount, or "".
	label string
}
