//go:build linux

package bench

import (
	"archive/tar"
	"bytes"
	"fmt"
	"testing"
)

// An image is a stack of layers, each unpacked from its own archive, as in a pull.
type image struct {
	layers int
	files  int  // in each layer
	gone   int  // how many files the lowest layer has for containers to delete
	marks  bool // each layer but the lowest deletes a file of the layer below and has an opaque directory
}

// id returns the id of layer i; layer 0 is the lowest.
func (im image) id(i int) string { return idOf("image %+v layer %d", im, i) }

// top returns the id of the uppermost layer.
func (im image) top() string { return im.id(im.layers - 1) }

// unpack makes the layers.
func (im image) unpack(b *testing.B, s store) {
	b.Helper()
	parent := ""
	for i := range im.layers {
		content, err := im.archive(i)
		must(b, err)
		s.unpackLayer(b, im.id(i), parent, content)
		parent = im.id(i)
	}
}

// remove removes the layers. They must have no containers.
func (im image) remove(b *testing.B, s store) {
	b.Helper()
	for i := im.layers - 1; i >= 0; i-- {
		must(b, s.Remove(im.id(i)))
	}
}

// Names in layer i: one of its own files; the file that the layer above deletes; and the file that the opaque directory of the
// layer above hides.
func imageFile(i, n int) string { return fmt.Sprintf("image/layer-%d/file-%d", i, n) }

func deletedFile(i int) string { return fmt.Sprintf("deleted/file-%d", i) }

func opaqueFile(i int) string { return fmt.Sprintf("opaque/file-%d", i) }

// archive returns the archive of layer i.
func (im image) archive(i int) (*bytes.Buffer, error) {
	var content bytes.Buffer
	out := &treeWriter{Writer: tar.NewWriter(&content), made: map[string]bool{}}
	names := []string{deletedFile(i)}
	if im.marks && i > 0 {
		names = append(names, fmt.Sprintf("deleted/.wh.file-%d", i-1), "opaque/.wh..wh..opq")
	}
	names = append(names, opaqueFile(i))
	for n := range im.files {
		names = append(names, imageFile(i, n))
	}
	if i == 0 {
		for n := range im.gone {
			names = append(names, gonerFile(n))
		}
	}
	for _, name := range names {
		if err := out.file(name, []byte("a file")); err != nil {
			return nil, err
		}
	}
	return &content, out.Close()
}

// look fails the benchmark if the mount of a container on layer i does not show layers 0 to i correctly. If several layers have an
// opaque directory of the same name, aufs shows the files that all of these but the lowest hide. The in-tree driver does not correct
// that.
func (im image) look(b *testing.B, s store, dir string, i int) {
	b.Helper()
	size := int64(len("a file"))
	for _, name := range []string{imageFile(0, im.files-1), imageFile(i, im.files-1), deletedFile(i), opaqueFile(i)} {
		shows(b, dir, name, size)
	}
	if !im.marks {
		shows(b, dir, deletedFile(i-1), size)
		shows(b, dir, opaqueFile(i-1), size)
		return
	}
	hides(b, dir, deletedFile(i-1))
	if s.kind.name != InTree {
		hides(b, dir, opaqueFile(i-1))
	}
}
