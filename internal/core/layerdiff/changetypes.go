//go:build linux

package layerdiff

// A Change is a file that a layer changes in what its ancestors show.
type Change struct {
	// Path begins with a '/'.
	Path string
	Kind ChangeKind
}

// String returns the letter of the kind (C, A or D) and the path.
func (c Change) String() string { return string("CAD"[c.Kind]) + " " + c.Path }

// ChangeKind says what happened to a file.
type ChangeKind int

// The kinds of changes.
const (
	ChangeModify ChangeKind = iota
	ChangeAdd
	ChangeDelete
)

// Usage is the disk usage of a layer.
type Usage struct {
	// Size is the number of bytes in the layer's files, and Inodes the number of files.
	Size, Inodes int64
}
