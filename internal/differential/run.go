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

	graphdriver "github.com/containers/storage/drivers"
	"github.com/containers/storage/pkg/archive"
	"github.com/seed-642172e2/aufs/internal/listing"
	"golang.org/x/sys/unix"
)

// A Subject is what is compared with the model.
type Subject struct {
	// Open makes or opens the store at home with the driver under test.
	Open func(home string) (graphdriver.Driver, error)
	// OpenOther opens it with the driver's other backend; nil: there is none.
	OpenOther func(home string) (graphdriver.Driver, error)
	// SplitsLinks says that a file that is copied up under one of its names
	// is no longer the file that its other names have, as on overlayfs.
	SplitsLinks bool
	// TouchesDirs says that a directory that is copied up, for something below
	// it, or that is renamed, has a new time of modification, as on aufs, which
	// may copy a file up under any of its names, and makes a directory opaque
	// that takes the place of a whiteout. Run gives those directories the
	// operation's time.
	TouchesDirs bool
	// LosesXattrs says that an attribute that is removed is empty instead, or
	// that copy-up loses an empty one, as aufs does it in Linux 6.1. Run leaves
	// operations out that remove an attribute, or set an empty one, or make
	// the kernel remove a file's capabilities.
	LosesXattrs bool
	// LacksXattrs says that there are none at all, as with an aufs that was built
	// so. Run leaves all operations out that are about them.
	LacksXattrs bool
}

// Counts is what was done in a run.
type Counts struct {
	Layers, Ops int
	// MovedByCopy is how many times a directory could not be renamed, with
	// EXDEV, and was copied and removed.
	MovedByCopy int
	// CopiedUpFirst is how many times a file could not be truncated, with
	// EINVAL, and was copied up by something else before. The aufs of Linux 6.1
	// fails so where the file system can share blocks, as xfs can: it copies up
	// no more than what is to stay, and that cannot be shared if it ends within
	// a block.
	CopiedUpFirst int
	// LeftOut is how many operations were not carried out for
	// Subject.LosesXattrs or LacksXattrs. Ops does not have them.
	LeftOut int
}

// Add adds what was done in another run.
func (c *Counts) Add(other Counts) {
	c.Layers += other.Layers
	c.Ops += other.Ops
	c.MovedByCopy += other.MovedByCopy
	c.CopiedUpFirst += other.CopiedUpFirst
	c.LeftOut += other.LeftOut
}

// Run carries out a script, in the empty directory dir. Its error is the first
// difference, or why the script could not be carried out.
func Run(s Subject, script Script, dir string) (counts Counts, err error) {
	r := &runner{
		subject: s, home: filepath.Join(dir, "home"), model: filepath.Join(dir, "model"),
		shown: map[string][]listing.Entry{},
	}
	// That is how drivers make the root of a layer without a parent.
	if err := os.Mkdir(r.model, 0o555); err != nil {
		return r.counts, err
	}
	if r.driver, err = s.Open(r.home); err != nil {
		return r.counts, err
	}
	defer func() { err = errors.Join(err, r.driver.Cleanup()) }()
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

// copyOf is the layer that is made by applying the Diff of the layer id.
func copyOf(id string) string { return id + "-copy" }

// runner is the state of a run.
type runner struct {
	subject     Subject
	home, model string
	driver      graphdriver.Driver
	counts      Counts
	// shown is what each layer has to show.
	shown map[string][]listing.Entry

	// Of the layer that is being made:
	mount   string
	lower   hardLinks
	touched touched
}

// layer makes the layer id on parent, and a copy of it, and checks both.
// diffMounted says that its Diff is read while it is mounted.
func (r *runner) layer(id, parent string, layer Layer, diffMounted bool) error {
	before, err := r.readModel()
	if err != nil {
		return err
	}
	if r.lower, err = findHardLinks(r.model); err != nil {
		return err
	}
	defer r.lower.close()
	r.touched = touched{paths: map[string]bool{}}
	if err := r.driver.CreateReadWrite(id, parent, nil); err != nil {
		return err
	}
	if r.mount, err = r.driver.Get(id, graphdriver.MountOpts{}); err != nil {
		return err
	}
	for i, op := range layer.Ops {
		if err := r.apply(id, op); err != nil {
			return errors.Join(fmt.Errorf("operation %d, %v: %w", i+1, op, err), r.driver.Put(id))
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
	if err := errors.Join(err, r.driver.Put(id)); err != nil {
		return fmt.Errorf("while it is mounted: %w", err)
	}
	if !diffMounted {
		if err := r.copyLayer(id, parent); err != nil {
			return err
		}
	}
	want := expectedChanges(snapshotOf(before), snapshotOf(model))
	return errors.Join(
		r.checkLayer(r.driver, id), r.checkLayer(r.driver, copyOf(id)),
		r.checkChanges(id, parent, want), r.checkChanges(copyOf(id), parent, want))
}

// readModel lists the model.
func (r *runner) readModel() ([]listing.Entry, error) { return readTree(r.model) }

// readTree lists a tree, but for the time of its root: see stamp.
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

// copyLayer applies the Diff of the layer id to another one on its parent.
func (r *runner) copyLayer(id, parent string) error {
	if err := r.driver.Create(copyOf(id), parent, nil); err != nil {
		return err
	}
	diff, err := r.driver.Diff(id, nil, parent, nil, "")
	if err != nil {
		return err
	}
	_, err = ApplyTo(r.driver, copyOf(id), parent, graphdriver.ApplyDiffOpts{Diff: diff})
	return errors.Join(err, diff.Close())
}

// checkLayer mounts the layer id, and compares.
func (r *runner) checkLayer(d graphdriver.Driver, id string) error {
	mount, err := d.Get(id, graphdriver.MountOpts{})
	if err != nil {
		return err
	}
	if err := errors.Join(compareMount(mount, r.shown[id]), d.Put(id)); err != nil {
		return fmt.Errorf("%s: mounted again: %w", id, err)
	}
	return nil
}

func (r *runner) checkChanges(id, parent string, want map[string]archive.ChangeType) error {
	got, err := r.driver.Changes(id, nil, parent, nil, "")
	if err == nil {
		err = compareChanges(got, want, r.touched.has)
	}
	if err != nil {
		return fmt.Errorf("%s: Changes: %w", id, err)
	}
	return nil
}

// reopen checks all layers with a new driver on the other backend, if there is
// one, and the layer top, and with it the state of all that it stands on, with
// a new driver on this one.
func (r *runner) reopen(top string) error {
	if err := r.driver.Cleanup(); err != nil {
		return err
	}
	if r.subject.OpenOther != nil {
		all := slices.Sorted(maps.Keys(r.shown))
		if err := r.checkWith(r.subject.OpenOther, all); err != nil {
			return fmt.Errorf("on the other backend: %w", err)
		}
	}
	if err := r.checkWith(r.subject.Open, []string{top, copyOf(top)}); err != nil {
		return fmt.Errorf("by a new driver: %w", err)
	}
	return nil
}

// checkWith checks layers with a driver of their own.
func (r *runner) checkWith(open func(string) (graphdriver.Driver, error), ids []string) error {
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
	if r.subject.LacksXattrs && strings.HasSuffix(op.Verb, "xattr") || r.subject.LosesXattrs && r.losesXattr(op) {
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
	if got == nil && r.subject.SplitsLinks {
		if err := r.split(op); err != nil {
			return fmt.Errorf("the model: %w", err)
		}
	}
	want := errno(op.do(r.model))
	if !errors.Is(got, want) {
		return fmt.Errorf("failed with %v, and in the model with %v", got, want)
	}
	if want != nil {
		return nil
	}
	now := clock(r.counts.Ops)
	paths := op.changed()
	if r.subject.TouchesDirs {
		dirs := dirsAbove(names)
		if op.Verb == "rename" {
			dirs = append(dirs, op.Args[1])
		}
		for _, dir := range dirs {
			if isDir(filepath.Join(r.model, dir)) {
				paths = append(paths, dir)
			}
		}
	}
	// A directory that nothing has copied up, as when it is renamed to its own name, is copied up by its stamp, which
	// changes the one that it is in: that has to come after it.
	slices.SortStableFunc(paths, func(a, b string) int { return strings.Count(b, "/") - strings.Count(a, "/") })
	return errors.Join(stamp(r.mount, paths, now), stamp(r.model, paths, now))
}

// attempt carries out an operation in the mount, and does about a refusal what
// applications do. It returns what the operation has become, and its error.
func (r *runner) attempt(op Op) (Op, error) {
	err := errno(op.do(r.mount))
	switch {
	case errors.Is(err, unix.EXDEV) && op.Verb == "rename" && isDir(filepath.Join(r.model, op.Args[0])):
		r.counts.MovedByCopy++
		op.Verb = moveDir
	case errors.Is(err, unix.EINVAL) && op.Verb == "truncate" && r.subject.TouchesDirs:
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

// losesXattr says if the operation removes an attribute, or sets an empty one.
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

// do carries the operation out in a tree.
func (op Op) do(root string) error { return verbs[op.Verb].do(root, op.Args) }

// errno is the system's part of an error.
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

// remount is what the operation of that name does.
func (r *runner) remount(id string) (err error) {
	if err := r.driver.Put(id); err != nil {
		return err
	}
	if r.mount, err = r.driver.Get(id, graphdriver.MountOpts{}); err != nil {
		return err
	}
	model, err := r.readModel()
	if err != nil {
		return err
	}
	return compareMount(r.mount, model)
}

// split does to the model what overlayfs does to files that the operation
// copies up: nothing, for a name that is renamed to itself.
func (r *runner) split(op Op) error {
	if op.Verb == "rename" && op.Args[0] == op.Args[1] {
		return nil
	}
	for _, i := range verbs[op.Verb].copiesUp {
		if isDir(filepath.Join(r.model, op.Args[i])) {
			continue
		}
		if err := r.lower.split(r.model, op.Args[i]); err != nil {
			return err
		}
	}
	return nil
}

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
