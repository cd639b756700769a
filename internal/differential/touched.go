//go:build linux

package differential

import (
	"slices"
	"strings"
)

// touched is what the operations of a layer were about.
type touched struct {
	paths    map[string]bool
	subtrees []string
}

// names are the paths that the operation is about, and all other names in the
// tree at root of the files there.
func (op Op) names(root string) []string {
	var names []string
	for i, kind := range verbs[op.Verb].args {
		if kind == argPath {
			// There may be nothing yet.
			others, _ := otherNames(root, op.Args[i])
			names = append(append(names, op.Args[i]), others...)
		}
	}
	return names
}

// add notes an operation and its names.
func (t *touched) add(op Op, names []string) {
	for _, name := range names {
		t.paths[name] = true
	}
	v := verbs[op.Verb]
	for i, kind := range v.args {
		if v.subtree && kind == argPath {
			t.subtrees = append(t.subtrees, op.Args[i])
		}
	}
}

// has says whether path, or something in that directory, or a directory that
// it is in and that went or came as a whole, was the object of an operation.
func (t *touched) has(path string) bool {
	if t.paths[path] {
		return true
	}
	for name := range t.paths {
		if strings.HasPrefix(name, path+"/") {
			return true
		}
	}
	return slices.ContainsFunc(t.subtrees, func(dir string) bool { return strings.HasPrefix(path, dir+"/") })
}
