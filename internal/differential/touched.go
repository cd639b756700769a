//go:build linux

package differential

import (
	"slices"
	"strings"
)

// touched has the paths that the operations of a layer were about.
type touched struct {
	paths    map[string]bool
	subtrees []string
}

// names returns the paths of the operation, and all other names in the tree at
// root of the files at these paths.
func (op Op) names(root string) []string {
	var names []string
	for i, kind := range verbs[op.Verb].args {
		if kind == argPath {
			// There may be no file yet.
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

// has reports whether an operation was about path, about something in that
// directory, or about a directory above path that appeared or went away as a
// whole.
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
