//go:build linux

package drivertest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A fixture is a store as text, with what its layers show. testdata/migration/README.md describes the format.
type fixture struct {
	// store is the tree of the store's home directory, in the order of a walk.
	store []node
	// layers are in the order of the file.
	layers []*fixtureLayer
	// mounts are the mounts that were alive.
	mounts []fixtureMount
	// namesBoot says that the fixture depends on when the kernel was started.
	namesBoot bool
	// diffMounted says that diff/ was a mount point.
	diffMounted bool
}

// fixtureLayer is what a fixture says of one layer.
type fixtureLayer struct {
	id string
	// state is one of the constants below.
	state string
	// shows is the tree that a mount shows, archive the tree in the archive of Diff.
	shows, archive []node
}

const (
	// stateRest: the layer is in aufs form, whatever marks it has.
	stateRest = "rest"
	// stateLong: the layer is in aufs form, and has a name that is too long for aufs.
	stateLong = "long"
	// stateForm: the layer is in overlay form, or between the two forms.
	stateForm = "form"
	// stateStuck: the layer is in overlay form, and has no aufs form.
	stateStuck = "stuck"
)

// atRest reports whether the layer was at rest.
func (l *fixtureLayer) atRest() bool { return l.state == stateRest || l.state == stateLong }

// fixtureMount is an overlay mount of a layer. The paths are relative to home.
type fixtureMount struct {
	id          string
	readOnly    bool
	upper, work string
	lowers      []string
}

// fixtureDir is the directory of the fixtures.
const fixtureDir = "testdata/migration"

// bootPlaceholder stands in a fixture for the boot id of the kernel that ran when the store was written.
const bootPlaceholder = "{boot}"

// readFixture reads testdata/migration/<name>.txt, and replaces bootPlaceholder by boot.
func readFixture(t *testing.T, name, boot string) fixture {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(fixtureDir, name+".txt"))
	must(t, err)
	f, err := parseFixture(strings.ReplaceAll(string(content), bootPlaceholder, boot))
	must(t, err)
	f.namesBoot = strings.Contains(string(content), bootPlaceholder)
	return f
}

func parseFixture(text string) (f fixture, err error) {
	var into *[]node
	for _, line := range strings.Split(text, "\n") {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0 || fields[0] == "#":
		case len(fields[0]) > 1:
			if into, err = f.directive(fields[0], fields[1:]); err != nil {
				return f, fmt.Errorf("%s: %w", line, err)
			}
		case into == nil:
			return f, fmt.Errorf("%s: it belongs to nothing", line)
		default:
			n, err := parseNode(line)
			if err != nil {
				return f, err
			}
			*into = append(*into, n)
		}
	}
	return f, nil
}

// directive reads a line that is no node, and returns where the nodes that follow it belong.
func (f *fixture) directive(word string, args []string) (*[]node, error) {
	switch {
	case word == "store" && len(args) == 0:
		return &f.store, nil
	case word == "diff-mounted" && len(args) == 0:
		f.diffMounted = true
		return nil, nil //nolint:nilnil // no nodes belong to it
	case word == "layer" && len(args) == 2 && slices.Contains([]string{stateRest, stateLong, stateForm, stateStuck}, args[1]):
		f.layers = append(f.layers, &fixtureLayer{id: args[0], state: args[1]})
		return nil, nil //nolint:nilnil // no nodes belong to it
	case word == "mount" && len(args) > 4:
		f.mounts = append(f.mounts, fixtureMount{id: args[0], readOnly: args[1] == "ro", upper: args[2], work: args[3], lowers: args[4:]})
		return nil, nil //nolint:nilnil // no nodes belong to it
	case word == "shows" && len(args) == 1 && f.layer(args[0]) != nil:
		return &f.layer(args[0]).shows, nil
	case word == "archive" && len(args) == 1 && f.layer(args[0]) != nil:
		return &f.layer(args[0]).archive, nil
	}
	return nil, errors.New("it is not understood")
}

func (f *fixture) layer(id string) *fixtureLayer {
	for _, l := range f.layers {
		if l.id == id {
			return l
		}
	}
	return nil
}
