//go:build linux

package differential

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/seed-642172e2/aufs/internal/listing"
	"golang.org/x/sys/unix"
)

// Run carries out a script in the empty directory dir. Its error is the first
// difference, or the reason why the script could not be carried out.
func Run(s Subject, script Script, dir string) (counts Counts, err error) {
	r := &runner{
		subject: s, home: filepath.Join(dir, "home"), model: filepath.Join(dir, "model"),
		shown: map[string][]listing.Entry{}, parents: map[string]string{},
	}
	// Drivers make the root of a layer without a parent with this mode.
	if err := os.Mkdir(r.model, 0o555); err != nil {
		return r.counts, err
	}
	defer func() { err = errors.Join(err, r.cleanup()) }()
	if err := r.open(script); err != nil {
		return r.counts, err
	}
	top := ""
	for i, layer := range script {
		if layer.OnCopy && i > 0 {
			top = copyOf(top)
		}
		id := fmt.Sprintf("layer%d", i)
		if err := r.layer(id, top, layer, i%2 == 1); err != nil {
			return r.counts, fmt.Errorf("%s: %w", id, err)
		}
		top = id
	}
	return r.counts, r.reopen(top)
}

// copyOf returns the id of the layer that is made by applying the Diff of the
// layer id.
func copyOf(id string) string { return id + "-copy" }

// A runner is the state of a run.
type runner struct {
	subject     Subject
	home, model string
	// sides are the backends that mount: the subject, and its other backend if
	// the script uses it. side is the backend whose turn it is.
	sides  []*side
	side   *side
	counts Counts
	// shown is what each layer must show, and parents has the parent of each
	// layer.
	shown   map[string][]listing.Entry
	parents map[string]string

	// These fields are about the layer that is being made.
	others  uint64
	mount   string
	lower   hardLinks
	touched touched
}

// layer makes the layer id on parent, and a copy of it, and checks both.
// diffMounted says that the layer's Diff is read while the layer is mounted.
func (r *runner) layer(id, parent string, layer Layer, diffMounted bool) (err error) {
	r.parents[id], r.parents[copyOf(id)], r.others = parent, parent, layer.Others
	if layer.Convert {
		if err := r.convert(); err != nil {
			return err
		}
	}
	if layer.ReadOnly {
		undo, err := r.readOnly(parent)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, undo()) }()
	}
	return r.fill(id, parent, layer, diffMounted)
}

// fill is layer once the layers below are in the state that the script wants.
func (r *runner) fill(id, parent string, layer Layer, diffMounted bool) error {
	before, err := r.readModel()
	if err != nil {
		return err
	}
	if r.lower, err = findHardLinks(r.model); err != nil {
		return err
	}
	defer r.lower.close()
	r.touched = touched{paths: map[string]bool{}}
	if err := r.side.driver.CreateReadWrite(id, parent); err != nil {
		return err
	}
	r.choose()
	if r.mount, err = r.side.driver.Get(id); err != nil {
		return err
	}
	for i, op := range layer.Ops {
		if err := r.apply(id, op); err != nil {
			return errors.Join(fmt.Errorf("operation %d, %v: %w", i+1, op, err), r.side.driver.Put(id))
		}
	}
	r.counts.Layers++
	model, err := r.readModel()
	if err != nil {
		return err
	}
	r.shown[id], r.shown[copyOf(id)] = model, model
	err = compareMount(r.mount, model)
	if diffMounted && err == nil {
		err = r.copyLayer(id, parent)
	}
	if err := errors.Join(err, r.side.driver.Put(id)); err != nil {
		return fmt.Errorf("while it is mounted: %w", err)
	}
	if !diffMounted {
		if err := r.copyLayer(id, parent); err != nil {
			return err
		}
	}
	want := expectedChanges(snapshotOf(before), snapshotOf(model))
	return errors.Join(
		r.checkNext(id), r.checkNext(copyOf(id)),
		r.checkChanges(id, parent, want), r.checkChanges(copyOf(id), parent, want))
}

// readModel lists the model.
func (r *runner) readModel() ([]listing.Entry, error) { return readTree(r.model) }

// readTree lists a tree without the time of its root: see Op.changed.
func readTree(root string) ([]listing.Entry, error) {
	entries, err := listing.Read(root)
	if err != nil {
		return nil, err
	}
	entries[0].Mtime = 0
	return entries, nil
}

func compareMount(mount string, want []listing.Entry) error {
	got, err := readTree(mount)
	if err != nil {
		return err
	}
	return compareTrees(got, want)
}

// copyLayer applies the Diff of the layer id to another layer on the same
// parent.
func (r *runner) copyLayer(id, parent string) error {
	if err := r.side.driver.Create(copyOf(id), parent); err != nil {
		return err
	}
	diff, err := r.side.driver.Diff(id, parent)
	if err != nil {
		return err
	}
	return errors.Join(r.side.driver.ApplyDiff(copyOf(id), parent, diff), diff.Close())
}

// checkNext is checkLayer with the driver whose turn is next.
func (r *runner) checkNext(id string) error {
	r.choose()
	return r.checkLayer(r.side.driver, id)
}

// checkLayer mounts the layer id, and compares the mount with what the layer
// must show.
func (r *runner) checkLayer(d Driver, id string) error {
	mount, err := d.Get(id)
	if err != nil {
		return err
	}
	if err := errors.Join(compareMount(mount, r.shown[id]), d.Put(id)); err != nil {
		return fmt.Errorf("%s: mounted again: %w", id, err)
	}
	return nil
}

func (r *runner) checkChanges(id, parent string, want map[string]Kind) error {
	got, err := r.side.driver.Changes(id, parent)
	if err == nil {
		err = compareChanges(got, want, r.touched.has)
	}
	if err != nil {
		return fmt.Errorf("%s: Changes: %w", id, err)
	}
	return nil
}

// reopen checks all layers with a new driver on the other backend, if there is
// one. It then checks the layer top and its copy with a new driver on this
// backend, which shows the state of all layers below as well. If the store was
// converted, it checks all layers.
func (r *runner) reopen(top string) error {
	if err := r.cleanup(); err != nil {
		return err
	}
	all := slices.Sorted(maps.Keys(r.shown))
	if r.subject.Other != nil {
		if err := r.checkWith(r.subject.Other.Open, all); err != nil {
			return fmt.Errorf("on the other backend: %w", err)
		}
	}
	ids := []string{top, copyOf(top)}
	if r.counts.Conversions > 0 {
		ids = all
	}
	if err := r.checkWith(r.subject.Open, ids); err != nil {
		return fmt.Errorf("by a new driver: %w", err)
	}
	return nil
}

// checkWith checks layers with a new driver that open opens.
func (r *runner) checkWith(open func(string) (Driver, error), ids []string) error {
	d, err := open(r.home)
	if err != nil {
		return err
	}
	for _, id := range ids {
		err = errors.Join(err, r.checkLayer(d, id))
	}
	return errors.Join(err, d.Cleanup())
}

// apply carries out one operation in the mount, and then in the model.
func (r *runner) apply(id string, op Op) error {
	if r.leavesOut(op) {
		r.counts.LeftOut++
		return nil
	}
	r.counts.Ops++
	if op.Verb == remount {
		return r.remount(id)
	}
	names := op.names(r.model)
	r.touched.add(op, names)
	op, got := r.attempt(op)
	if got == nil {
		if err := r.copyUp(op); err != nil {
			return fmt.Errorf("the model: %w", err)
		}
	}
	want := errno(op.do(r.model))
	if !errors.Is(got, want) {
		return fmt.Errorf("failed with %v, and in the model with %v", got, want) //nolint:errorlint // got may be nil
	}
	if want != nil {
		return nil //nolint:nilerr // both failed alike
	}
	now := clock(r.counts.Ops)
	paths := op.changed()
	var dirs []string
	if r.side.TouchesDirs {
		dirs = dirsAbove(names)
	}
	if r.side.RenameTouches && op.Verb == "rename" {
		dirs = append(dirs, op.Args[1])
	}
	for _, dir := range dirs {
		if isDir(filepath.Join(r.model, dir)) {
			paths = append(paths, dir)
		}
	}
	// Setting the time of a directory copies it up, if nothing has done so
	// before (as when it is renamed to its own name). That changes the
	// directory that it is in, whose time must be set later.
	slices.SortStableFunc(paths, func(a, b string) int { return strings.Count(b, "/") - strings.Count(a, "/") })
	return errors.Join(stamp(r.mount, paths, now), stamp(r.model, paths, now))
}

// attempt carries out an operation in the mount. If the mount refuses the
// operation, attempt does what applications do about that. It returns the
// operation that it tried last, and its error.
func (r *runner) attempt(op Op) (Op, error) {
	err := errno(op.do(r.mount))
	switch {
	case errors.Is(err, unix.EXDEV) && op.Verb == "rename" && isDir(filepath.Join(r.model, op.Args[0])):
		r.counts.MovedByCopy++
		op.Verb = moveDir
	case errors.Is(err, unix.EINVAL) && op.Verb == "truncate" && r.side.TouchesDirs:
		r.counts.CopiedUpFirst++
		path := filepath.Join(r.mount, op.Args[0])
		st, err := lstat(path)
		if err == nil {
			err = unix.Chmod(path, st.Mode&0o7777)
		}
		if err != nil {
			return op, err
		}
	default:
		return op, err
	}
	return op, errno(op.do(r.mount))
}

// losesXattr reports whether the operation removes an attribute, sets an empty
// one, or makes the kernel remove a file's capabilities.
func (r *runner) losesXattr(op Op) bool {
	switch op.Verb {
	case "removexattr":
		return true
	case "setxattr":
		return op.Args[2] == ""
	case "write", "append", "truncate", "chown":
		_, err := unix.Lgetxattr(filepath.Join(r.model, op.Args[0]), "security.capability", nil)
		return err == nil
	default:
		return false
	}
}

// do carries out the operation in a tree.
func (op Op) do(root string) error { return verbs[op.Verb].do(root, op.Args) }

// errno returns the unix.Errno in err, or err if there is none.
func errno(err error) error {
	var number unix.Errno
	if errors.As(err, &number) {
		return number
	}
	return err
}

func isDir(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.IsDir()
}

// remount carries out the operation remount, and checks the new mount.
func (r *runner) remount(id string) (err error) {
	if err := r.side.driver.Put(id); err != nil {
		return err
	}
	r.choose()
	if r.mount, err = r.side.driver.Get(id); err != nil {
		return err
	}
	model, err := r.readModel()
	if err != nil {
		return err
	}
	return compareMount(r.mount, model)
}

// copyUp does to the model what the backend does to files that the operation
// copies up. A name that is renamed to itself is not copied up.
func (r *runner) copyUp(op Op) error {
	if op.Verb == "rename" && op.Args[0] == op.Args[1] {
		return nil
	}
	for _, i := range verbs[op.Verb].copiesUp {
		if isDir(filepath.Join(r.model, op.Args[i])) {
			continue
		}
		do := r.lower.keep
		if r.side.SplitsLinks {
			do = r.lower.split
		}
		if err := do(r.model, op.Args[i]); err != nil {
			return err
		}
	}
	return nil
}
