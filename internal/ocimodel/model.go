package ocimodel

import (
	"archive/tar"
	"errors"
	"maps"
	"path"
	"strings"
)

const (
	whiteoutPrefix = ".wh."
	opaqueMark     = ".wh..wh..opq"
)

// A Node is a file of a tree.
type Node struct {
	// Type is a Typeflag of a tar.Header other than tar.TypeLink.
	Type          byte
	Content, Link string
	Mode          int64
	UID, GID      int
	// ModTime is in seconds since 1970, or 0 if nothing says what it should be.
	ModTime int64
	// Children are the files in a directory, by name.
	Children map[string]*Node
}

// NewTree returns the root of an empty tree.
func NewTree() *Node { return newDirectory() }

// newDirectory returns a directory about which no archive says anything.
func newDirectory() *Node {
	return &Node{Type: tar.TypeDir, Mode: 0o755, Children: map[string]*Node{}}
}

func (n *Node) isDir() bool { return n != nil && n.Type == tar.TypeDir }

// All returns the files of a tree by path, without its root.
func (n *Node) All() map[string]*Node {
	all := map[string]*Node{}
	for name, child := range n.Children {
		all[name] = child
		for below, node := range child.All() {
			all[path.Join(name, below)] = node
		}
	}
	return all
}

// A Layer is what the entries of an archive make of an empty directory.
type Layer struct {
	root *member
	// directories are the paths that have had an entry for a directory.
	directories map[string]bool
	// Doubtful says that entries replace directories of the same archive, which a driver may refuse.
	Doubtful bool
}

// A member is a file of a layer, or a directory that the layer only implies.
type member struct {
	Node
	implied  bool
	children map[string]*member
	// whiteouts are the names that the layer deletes in a directory.
	whiteouts map[string]bool
	opaque    bool
}

func newMember() *member {
	return &member{Node: *newDirectory(), implied: true, children: map[string]*member{}, whiteouts: map[string]bool{}}
}

// ErrUnspecified says that nothing defines what an archive means.
var ErrUnspecified = errors.New("an archive of this kind has no meaning")

// Read reads an archive. The error is ErrUnspecified if the path of an entry leads through something other than a
// directory, if a hard link does not lead to a regular file before it, or if a symbolic link has the name of a
// directory that had an entry before it.
func Read(entries []Entry) (*Layer, error) {
	l := &Layer{root: newMember(), directories: map[string]bool{}}
	for _, e := range entries {
		if err := l.add(e); err != nil {
			return nil, err
		}
	}
	return l, nil
}

func (l *Layer) add(e Entry) error {
	dir, base := path.Split(e.Name)
	parent := l.root
	for _, name := range strings.FieldsFunc(dir, func(r rune) bool { return r == '/' }) {
		if parent.children[name] == nil {
			parent.children[name] = newMember()
		}
		if parent = parent.children[name]; !parent.isDir() {
			return ErrUnspecified
		}
	}
	if base == opaqueMark {
		parent.opaque = true
		return nil
	}
	if hidden, ok := strings.CutPrefix(base, whiteoutPrefix); ok {
		parent.whiteouts[hidden] = true
		return nil
	}
	made, err := l.member(e, parent.children[base])
	if err == nil {
		parent.children[base] = made
	}
	return err
}

// member returns what an entry makes in the place of the member there.
func (l *Layer) member(e Entry, there *member) (*member, error) {
	m := newMember()
	isDir := e.Type == tar.TypeDir
	switch {
	case e.Type == tar.TypeLink:
		if m = l.find(e.Link); m == nil || m.Type != tar.TypeReg || m == there {
			return nil, ErrUnspecified
		}
		e.Type, e.Content, e.Link, e.ModTime = tar.TypeReg, m.Content, "", m.ModTime
	case isDir && there != nil && there.isDir():
		m = there
	case e.Type == tar.TypeSymlink && l.directories[e.Name]:
		return nil, ErrUnspecified
	}
	l.Doubtful = l.Doubtful || !isDir && there != nil && there.isDir()
	m.implied = false
	m.Type, m.Content, m.Link, m.Mode, m.UID, m.GID, m.ModTime = e.Type, e.Content, e.Link, e.Mode, e.UID, e.GID, e.ModTime
	if isDir {
		l.directories[e.Name] = true
	} else if l.directories[e.Name] {
		// A library may set the times of directories at the end.
		m.ModTime = 0
	}
	return m, nil
}

// find returns the member with this path, or nil.
func (l *Layer) find(name string) *member {
	m := l.root
	for _, part := range strings.Split(name, "/") {
		if m = m.children[part]; m == nil {
			return nil
		}
	}
	return m
}

// Apply applies the layer to the tree of the layers below.
func (l *Layer) Apply(below *Node) {
	l.root.hide(below)
	l.root.addTo(below)
}

// hide deletes what the whiteouts and opaque marks of m, and of the directories in it, hide.
func (m *member) hide(below *Node) {
	if m.opaque {
		clear(below.Children)
	}
	for name := range m.whiteouts {
		delete(below.Children, name)
	}
	for name, child := range m.children {
		if there := below.Children[name]; child.isDir() && there.isDir() {
			child.hide(there)
		}
	}
}

// addTo adds the files in m to the directory below.
func (m *member) addTo(below *Node) {
	for name, child := range m.children {
		there := below.Children[name]
		if !child.isDir() || !there.isDir() {
			if child.isNothing() {
				continue
			}
			made := child.Node
			made.Children = map[string]*Node{}
			there = &made
			below.Children[name] = there
		}
		if !child.implied {
			children := there.Children
			*there = child.Node
			there.Children = children
		}
		child.addTo(there)
	}
}

// isNothing reports whether m is an implied directory that holds only whiteouts.
func (m *member) isNothing() bool {
	for child := range maps.Values(m.children) {
		if !child.isNothing() {
			return false
		}
	}
	return m.implied
}
