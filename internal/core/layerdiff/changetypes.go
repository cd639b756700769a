//go:build linux

package layerdiff

// A Change is a file that a layer changes in what its ancestors show.
type Change struct {
	// Path begins with a '/'.
	Path string
	Kind ChangeKind
}

// String is the letter of the kind, and the path.
func (c Change) String() string { return string("CAD"[c.Kind]) + " " + c.Path }

// ChangeKind says what happened to a file.
type ChangeKind int

// The kinds of changes.
const (
	ChangeModify ChangeKind = iota
	ChangeAdd
	ChangeDelete
)

// Usage is what a layer takes on the disk.
type Usage struct {
	// Size is how many bytes are in its files, and Inodes how many files there are.
	Size, Inodes int64
}
