//go:build linux

package aufs

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// Which form each layer's directory is in is written down in symbolic links, which are made and removed in one call each. A layer
// with none is in aufs form.
//
//	overlay/mark/<id>          now, and for as long as it is mounted: FORM, or FORM:LOWERS
//	overlay/trace/<boot>/<id>  at some time since that boot of the kernel: FORM
//
// What overlayfs writes may be on the disk after a power cut, while the mark is not. An fsync for each mark would help, and take
// longer than the mount. So a layer has a trace before it has its first mark since the kernel was started, with an fsync, and keeps
// it; overlay/synced/<id>, a link to BOOT and FORM, says that this fsync was done. As long as the kernel runs, and the file system
// is not mounted anew, a trace says nothing; one of an earlier boot says what a mark does, until the layer is brought to rest. That
// a layer with such a trace is at rest, as most will be, is found out when it is next used.
//
// LOWERS are about the mount that the mark was made for: a letter for each of the ancestors that it has, nearest first.
const (
	// lowerPlain: the layer's own directory is in the mount.
	lowerPlain = 'p'
	// lowerTwin: something that was made from it is.
	lowerTwin = 't'
)

const (
	// traceDir holds a directory for each boot.
	traceDir = "trace"
	// syncedDir says of the traces of this boot that they are on the disk.
	syncedDir = "synced"
	// earlierBoots is where Init puts together what it finds of earlier ones.
	earlierBoots = "earlier"
)

// marks knows the forms of layers.
type marks struct {
	home home
	// looking guards earlier, the directories of traces of earlier boots, once they were looked for.
	looking sync.Mutex
	looked  bool
	earlier []string
	// verified are the layers in a store that is read-only of which this process has found out that they are at rest, whatever
	// traces there are of earlier boots.
	verified sync.Map
}

// traces are those directories.
func (m *marks) traces() ([]string, error) {
	m.looking.Lock()
	defer m.looking.Unlock()
	if m.looked {
		return m.earlier, nil
	}
	dirs, err := m.home.earlierTraces()
	if err == nil {
		m.earlier, m.looked = dirs, true
	}
	return dirs, err
}

// bootID tells one boot of the kernel from another. It is "" if the kernel does not say (random(4), boot_id).
var bootID = sync.OnceValue(func() string {
	content, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	id := strings.TrimSpace(string(content))
	if err != nil || checkID(id) != nil {
		return ""
	}
	return id
})

// earlierTraces are the directories of traces of earlier boots, the one where Init puts all together at the end.
func (h home) earlierTraces() ([]string, error) {
	boots, err := os.ReadDir(h.overlay(traceDir))
	if err != nil {
		return nil, ignoreGone(err)
	}
	var dirs []string
	gathered := false
	for _, boot := range boots {
		switch name := boot.Name(); name {
		case bootID():
		case earlierBoots:
			gathered = true
		default:
			dirs = append(dirs, h.overlay(traceDir, name))
		}
	}
	if gathered || len(dirs) > 0 {
		dirs = append(dirs, h.overlay(traceDir, earlierBoots))
	}
	return dirs, nil
}

// gatherTraces puts the traces of earlier boots together, for there would be a directory more with each. The caller holds the
// store lock.
func (h home) gatherTraces() error {
	dirs, err := h.earlierTraces()
	if err != nil || len(dirs) == 0 {
		return err
	}
	all := dirs[len(dirs)-1]
	if len(dirs) > 1 {
		if err := os.Mkdir(all, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	for _, dir := range dirs[:len(dirs)-1] {
		traces, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, trace := range traces {
			if err := os.Rename(filepath.Join(dir, trace.Name()), filepath.Join(all, trace.Name())); ignoreGone(err) != nil {
				return err
			}
		}
		if err := os.Remove(dir); err != nil {
			return err
		}
	}
	// Once it is empty it goes.
	_ = unix.Rmdir(all)
	return nil
}

// traceOf are the paths of the traces that the layer id can have.
func (m *marks) traceOf(id string) []string {
	// What it could not read it has said elsewhere.
	earlier, _ := m.traces() //nolint:errcheck // see above
	paths := []string{m.home.overlay(syncedDir, id)}
	if bootID() != "" {
		paths = append(paths, m.home.overlay(traceDir, bootID(), id))
	}
	for _, dir := range earlier {
		paths = append(paths, filepath.Join(dir, id))
	}
	return paths
}

// mark is what is known of a layer that is not in aufs form.
type mark struct {
	form form
	// mounted: the mark was made for a mount, which has lowers.
	mounted bool
	lowers  string
	// old: the layer is as an earlier boot left it. Nothing has it mounted.
	old bool
}

// read reads the mark of the layer id; its form is aufsForm if there is none.
func (m *marks) read(id string) (mark, error) {
	earlier, err := m.traces()
	if err != nil {
		return mark{}, layerError("reading the form of", id, err)
	}
	// The traces first, and in this order: Init moves them.
	old := mark{form: aufsForm}
	if _, ok := m.verified.Load(id); ok {
		earlier = nil
	}
	for _, dir := range earlier {
		if old, err = readMark(filepath.Join(dir, id)); err != nil {
			return mark{}, layerError("reading the form of", id, err)
		}
		if old.form != aufsForm {
			old.old = true
			break
		}
	}
	now, err := readMark(m.home.overlay(markDir, id))
	if err != nil {
		return mark{}, layerError("reading the form of", id, err)
	}
	if now.form == aufsForm {
		return old, nil
	}
	return now, nil
}

// readIf is read for a layer of which it is known if it is marked.
func (m *marks) readIf(marked bool, id string) (mark, error) {
	if !marked {
		return mark{form: aufsForm}, nil
	}
	return m.read(id)
}

func readMark(path string) (mark, error) {
	target, err := os.Readlink(path)
	if errors.Is(err, fs.ErrNotExist) {
		return mark{form: aufsForm}, nil
	}
	if errors.Is(err, unix.EINVAL) {
		// As this driver made them once, for mounts that have a run directory.
		var content []byte
		content, err = readFile(path)
		target = strings.TrimSpace(string(content))
	}
	if err != nil {
		return mark{}, err
	}
	name, lowers, mounted := strings.Cut(target, ":")
	switch f := form(name); f {
	case overlayTrusted, overlayUser:
		return mark{form: f, mounted: mounted, lowers: lowers}, nil
	default:
		return mark{}, fmt.Errorf("%s says %q", path, target)
	}
}

// form is the form that the layer id's directory is in. If it is not aufsForm, the layer is being translated, is mounted, or was
// when a process died or the power went off: whiteouts of both forms are possible then.
func (m *marks) form(id string) (form, error) {
	found, err := m.read(id)
	return found.form, err
}

// markedLayers are the layers of a store that are not in aufs form, by their ids. In the zero value all is nil: it is not known.
type markedLayers struct {
	all map[string]bool
	now []string // those that are not so since an earlier boot
}

// marked finds them all. It is for those who look at many.
func (m *marks) marked() (found markedLayers, err error) {
	earlier, err := m.traces()
	if err != nil {
		return found, fmt.Errorf("aufs: %w", err)
	}
	all := map[string]bool{}
	for _, dir := range earlier {
		traces, err := listDir(dir)
		if ignoreGone(err) != nil {
			return found, fmt.Errorf("aufs: %w", err)
		}
		for _, trace := range traces {
			all[trace.Name()] = true
		}
	}
	marks, err := listDir(m.home.overlay(markDir))
	if ignoreGone(err) != nil {
		return found, fmt.Errorf("aufs: %w", err)
	}
	found.all = all
	for _, mark := range marks {
		found.all[mark.Name()] = true
		found.now = append(found.now, mark.Name())
	}
	return found, nil
}

// set notes, durably, that the layer id is about to be brought into form f: without the mark, aufs would show the layer's
// whiteouts as files. lowers are those of the mount that it is for, if mounted.
func (m *marks) set(id string, f form, mounted bool, lowers string) error {
	target := string(f)
	if mounted {
		target += ":" + lowers
	}
	marks := m.home.overlay(markDir)
	if bootID() == "" {
		return m.home.linkDurably(target, marks, id)
	}
	if err := m.trace(id, f); err != nil {
		return err
	}
	return linkIn(target, marks, id)
}

// trace makes a trace of the layer id, unless it has one that is on the disk.
func (m *marks) trace(id string, f form) error {
	want := bootID() + " " + string(f)
	synced := m.home.overlay(syncedDir, id)
	have, err := os.Readlink(synced)
	if err == nil && have == want {
		return nil
	}
	if ignoreGone(err) != nil {
		return err
	}
	if err == nil {
		if err := os.Remove(synced); err != nil {
			return err
		}
	}
	dir := m.home.overlay(traceDir, bootID())
	before, err := readMark(filepath.Join(dir, id))
	if err != nil {
		return err
	}
	if before.form != aufsForm && before.form != f {
		// It is at rest, and may not be so on the disk.
		if err := m.home.sync(); err != nil {
			return err
		}
		if err := os.Remove(filepath.Join(dir, id)); err != nil {
			return err
		}
	}
	if err := m.home.linkDurably(string(f), dir, id); err != nil {
		return err
	}
	return linkIn(want, m.home.overlay(syncedDir), id)
}

// untrace is for a layer at rest that gets content which means something else in overlay form: no later boot is to take it for that.
func (m *marks) untrace(id string) error {
	if bootID() == "" {
		return nil
	}
	path := m.home.overlay(traceDir, bootID(), id)
	if _, err := os.Lstat(path); err != nil {
		return ignoreGone(err)
	}
	if err := m.home.sync(); err != nil {
		return err
	}
	return errors.Join(ignoreGone(os.Remove(m.home.overlay(syncedDir, id))), os.Remove(path))
}

// unmounted says that the mount is gone that the mark of the layer id was made for, and that the layer keeps the mark.
func (m *marks) unmounted(id string, f form) error {
	// The sweep may take it for what is left of one who was killed; then the mark stays as it was.
	made := filepath.Join(m.home.tmp(), atomicPrefix+rand.Text())
	if err := os.Symlink(string(f), made); err != nil {
		return err
	}
	if err := os.Rename(made, m.home.overlay(markDir, id)); err != nil {
		return errors.Join(err, ignoreGone(os.Remove(made)))
	}
	return nil
}

// unset notes that the layer id, which had a mark or a trace of an earlier boot, is in aufs form. The trace becomes one of this boot:
// what the way back has changed need not be on the disk yet.
func (m *marks) unset(id string) error {
	earlier, err := m.traces()
	if err != nil {
		return err
	}
	for _, dir := range earlier {
		err := m.renewTrace(filepath.Join(dir, id))
		if errors.Is(err, unix.EROFS) {
			m.verified.Store(id, true)
			continue
		}
		if err != nil {
			return err
		}
	}
	path := m.home.overlay(markDir, id)
	if err := unix.Unlink(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return &fs.PathError{Op: "unlink", Path: path, Err: err}
	}
	return nil
}

// renewTrace makes the trace of an earlier boot, if it is there, one of this boot.
func (m *marks) renewTrace(path string) error {
	if _, err := os.Lstat(path); err != nil {
		return ignoreGone(err)
	}
	if bootID() == "" {
		// There is none of this boot.
		if err := m.home.sync(); err != nil {
			return err
		}
		return os.Remove(path)
	}
	now := m.home.overlay(traceDir, bootID())
	if err := os.Mkdir(now, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return os.Rename(path, filepath.Join(now, filepath.Base(path)))
}

// linkIn makes the symbolic link name to target in the directory dir, and dir if it is not there.
func linkIn(target, dir, name string) error {
	path := filepath.Join(dir, name)
	err := os.Symlink(target, path)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return os.Symlink(target, path)
}

// linkDurably is linkIn for a directory of the store, with an fsync: after an error the link is not there.
func (h home) linkDurably(target, dir, name string) error {
	if err := linkIn(target, dir, name); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	// Any of those that it is in may be new, and by one who was killed before he could do this.
	for d := dir; ; d = filepath.Dir(d) {
		if err := syncDir(d); err != nil {
			return errors.Join(err, os.Remove(filepath.Join(dir, name)))
		}
		if d == string(h) {
			return nil
		}
	}
}
