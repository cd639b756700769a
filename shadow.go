//go:build linux

package aufs

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Shadows (see shadowplan.go) are made once, named after what is in them, and neither changed nor replaced:
//
//	overlay/shadow/<id>/<digest>/above, below
//
// What was found out about a layer that nobody has had mounted writable is kept in a symbolic link, one for each form that a backend reads:
//
//	overlay/known/<form>/<id>   VERSION FLAGS DIGEST STAMP
//
// Both are a cache, which may be deleted when nothing is mounted. A layer that was mounted writable is looked through by each mount that has
// it as an ancestor in another form: somebody may have changed it deep inside.

const (
	shadowAbove = "above"
	shadowBelow = "below"
)

// knownVersion begins each link. It changes when something else is made of the same layers.
const knownVersion = "1"

// The flags of a link.
const (
	flagOpaque  = "o" // no layer below shows through
	flagUnread  = "u" // the marks of the layer's own directory are not to count
	flagStacked = "s" // the stamp is that of the layer and all below it
	flagAbove   = "a" // there is a shadow above the layer
	flagBelow   = "b" // there is one below it
	flagNone    = "-" // in the place of flags, or of a digest
)

// shadows makes and finds the shadows for one backend.
type shadows struct {
	home  home
	forms *converter
	// to is the form that the backend reads.
	to form
	// elsewhere is where shadows are made if the store is read-only or full; "" if there is no such place.
	elsewhere string
}

func newShadows(h home, forms *converter, to form, runRoot string) *shadows {
	s := &shadows{home: h, forms: forms, to: to}
	if runRoot != "" {
		s.elsewhere = filepath.Join(runRoot, filepath.Base(string(h))+"-shadow")
	}
	return s
}

// shownLayer is a layer as it is mounted in a stack.
type shownLayer struct {
	id, dir string
	// above and below are the shadows beside it in the stack, or "".
	above, below string
	// unread: the marks of dir are not to count.
	unread bool
	// foreign: dir is in a form that the backend does not read.
	foreign bool
	// opaque: no layer below shows through.
	opaque bool
	// form is the overlay form that the layer is in, or "".
	form form
}

// stack finds out how layers, uppermost first, are mounted. It leaves out those that do not show through. held is one of which the caller has the
// lock, or "".
func (s *shadows) stack(layers []string, held string) ([]shownLayer, error) {
	look, err := s.lookAt(layers)
	if err != nil {
		return nil, err
	}
	defer look.close()
	// A layer below one that is known to be opaque does not matter.
	found, unknown, errs := make([]shownLayer, 0, len(layers)), []int{}, make([]error, len(layers))
	for n := range layers {
		v, ok := look.known(n)
		if !ok {
			unknown = append(unknown, n)
		}
		if found = append(found, v); v.opaque {
			break
		}
	}
	// What is found out about a layer is kept if what is below it is known.
	for _, n := range slices.Backward(unknown) {
		found[n], errs[n] = s.find(layers[n:], layers[n] == held, nil)
	}
	for n, v := range found {
		if errs[n] != nil {
			return nil, layerError("preparing", layers[n], errs[n])
		}
		if v.opaque {
			return found[:n+1], nil
		}
	}
	return found, nil
}

// A lookAtLayers reads what is known of the layers of a stack, from open directories: the kernel goes the way to them once.
type lookAtLayers struct {
	*shadows
	layers  []string
	stamps  []string
	stacked []string // the stamps of each layer and all below it, once they are wanted
	links   int      // the directory of the links; -1: there is none
	places  []string // the directories that shadows can be in
}

func (s *shadows) lookAt(layers []string) (*lookAtLayers, error) {
	diff, err := openTree(s.home.diff(""))
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: s.home.diff(""), Err: err}
	}
	defer unix.Close(diff)
	l := &lookAtLayers{shadows: s, layers: layers, stamps: make([]string, len(layers)), links: -1, places: s.places()}
	for n, layer := range layers {
		var st unix.Stat_t
		err := unix.Fstatat(diff, layer, &st, unix.AT_SYMLINK_NOFOLLOW)
		if err == nil && st.Mode&unix.S_IFMT != unix.S_IFDIR {
			err = unix.ENOTDIR
		}
		if err != nil {
			// A stack without it would show, without a word, another tree.
			return nil, layerError("using", layer, &fs.PathError{Op: "lstat", Path: s.home.diff(layer), Err: err})
		}
		l.stamps[n] = stampOf(&st)
	}
	if fd, err := openTree(s.links()); err == nil {
		l.links = fd
	}
	return l, nil
}

func (l *lookAtLayers) close() {
	if l.links >= 0 {
		_ = unix.Close(l.links) // it was only read
	}
}

// stampOf tells one state of a layer from another, as far as its root directory shows it. That is enough where all that changes the layer calls
// forget; and where aufs has had it as its writable branch, that has left files in the root directory.
func stampOf(st *unix.Stat_t) string {
	stamp := make([]byte, 0, 64)
	stamp = strconv.AppendUint(stamp, st.Ino, 36)
	for _, time := range []unix.Timespec{st.Ctim, st.Mtim} {
		stamp = strconv.AppendInt(append(stamp, '.'), time.Nano(), 36)
	}
	return string(stamp)
}

// stackedStamp is the stamp of the layer n and all below it.
func (l *lookAtLayers) stackedStamp(n int) string {
	if l.stacked == nil {
		l.stacked = stackStamps(l.stamps)
	}
	return l.stacked[n]
}

// stackStamps are the stamps of each of the layers, which have these stamps, and all below it.
func stackStamps(stamps []string) []string {
	stacked, below := make([]string, len(stamps)), ""
	for n := len(stamps) - 1; n >= 0; n-- {
		sum := sha256.Sum256([]byte(stamps[n] + " " + below))
		below = hex.EncodeToString(sum[:16])
		stacked[n] = below
	}
	return stacked
}

// known is how the layer n is mounted; ok is false if that has to be found out.
func (l *lookAtLayers) known(n int) (v shownLayer, ok bool) {
	if l.links < 0 {
		return v, false
	}
	var buffer [256]byte
	length, err := unix.Readlinkat(l.links, l.layers[n], buffer[:])
	if err != nil {
		return v, false
	}
	version, rest, _ := strings.Cut(string(buffer[:length]), " ")
	flags, rest, _ := strings.Cut(rest, " ")
	digest, stamp, _ := strings.Cut(rest, " ")
	want := l.stamps[n]
	if strings.Contains(flags, flagStacked) {
		want = l.stackedStamp(n)
	}
	if version != knownVersion || stamp != want {
		return v, false
	}
	v = shownLayer{
		id: l.layers[n], dir: l.home.diff(l.layers[n]), opaque: strings.Contains(flags, flagOpaque), unread: strings.Contains(flags, flagUnread),
	}
	return v, digest == flagNone || l.place(&v, digest, strings.Contains(flags, flagAbove), strings.Contains(flags, flagBelow))
}

// place finds the shadows of the layer v that have this digest.
func (l *lookAtLayers) place(v *shownLayer, digest string, above, below bool) bool {
	for _, place := range l.places {
		dir := place + "/" + v.id + "/" + digest
		if !isThere(dir) {
			continue
		}
		if above {
			v.above = dir + "/" + shadowAbove
		}
		if below {
			v.below = dir + "/" + shadowBelow
		}
		return true
	}
	return false
}

// knowsFrom tells if the layer n, and each one below it, is known.
func (l *lookAtLayers) knowsFrom(n int) bool {
	for ; n < len(l.layers); n++ {
		if _, ok := l.known(n); !ok {
			return false
		}
	}
	return true
}

// find finds out how the first of layers is mounted on top of the others, and keeps it if it can be relied on. held says that the caller
// has its lock; only is as for planShadows.
func (s *shadows) find(layers []string, held bool, only []string) (v shownLayer, err error) {
	id := layers[0]
	if !held {
		lock, err := s.home.lockID(id)
		if err != nil {
			return v, err
		}
		defer lock.unlock()
	}
	if err := s.forms.finish(id, s.to); err != nil {
		return v, err
	}
	if s.to != aufsForm {
		// Overlayfs does not go by what is below: see planShadows.
		layers = layers[:1]
	}
	// Somebody may have found it out during the wait for the lock. The stamps are those of before the layers are read.
	look, err := s.lookAt(layers)
	if err != nil {
		return v, err
	}
	defer look.close()
	if v, ok := look.known(0); ok {
		return v, nil
	}
	dirs, written, err := s.read(layers)
	if err != nil {
		return v, err
	}
	v, p, digest, err := s.plan(id, dirs, only)
	if err != nil {
		return v, err
	}
	for made := false; digest != "" && !look.place(&v, digest, len(p.above) > 0, len(p.below) > 0); made = true {
		if made {
			return v, &fs.PathError{Op: "making the shadow", Path: filepath.Join(look.places[0], id, digest), Err: fs.ErrNotExist}
		}
		if err := s.make(id, digest, p, dirs[0]); err != nil {
			return v, err
		}
	}
	stamp := look.stamps[0]
	if p.stacked {
		stamp = look.stackedStamp(0)
	}
	// Who changes a layer of which something is known gives it another stamp: see forget.
	if !written[0] && (!p.stacked || !anyOf(written) && look.knowsFrom(1)) {
		s.keep(id, v, p, digest, stamp)
	}
	return v, nil
}

// read returns layers with the forms that they are in. written says which of them may have been changed, by others than this driver, without a
// trace in their root directories.
func (s *shadows) read(layers []string) (dirs []layerDir, written []bool, err error) {
	for n, id := range layers {
		r, err := s.home.readForm(id)
		if err == nil && n > 0 && (r.converting || s.to != aufsForm && r.isOverlay() && r.form != s.to) {
			r, err = s.finishLocked(id)
		}
		if err == nil {
			err = mustRead(r.form)
		}
		if err != nil {
			return nil, nil, err
		}
		dir := layerDir{root: s.home.diff(id), form: aufsForm}
		if r.isOverlay() {
			dir.form = r.form
		}
		dirs = append(dirs, dir)
		written = append(written, r.form != "" || wasWritable(dir.root))
	}
	return dirs, written, nil
}

// finishLocked ends the conversion of an ancestor, and returns its record.
func (s *shadows) finishLocked(id string) (formRecord, error) {
	lock, err := s.home.lockID(id)
	if err != nil {
		return formRecord{}, err
	}
	defer lock.unlock()
	if err := s.forms.finish(id, s.to); err != nil {
		return formRecord{}, err
	}
	return s.home.readForm(id)
}

// wasWritable tells if the layer at dir has been a writable branch: aufs then has left its files there.
func wasWritable(dir string) bool { return isThere(filepath.Join(dir, whiteoutBase)) }

// isThere tells if there is something at path.
func isThere(path string) bool {
	_, err := lstatOf(path)
	return err == nil
}

func anyOf(all []bool) bool {
	for _, one := range all {
		if one {
			return true
		}
	}
	return false
}

// plan is planShadows for the first of dirs, the layer id, on top of the others.
func (s *shadows) plan(id string, dirs []layerDir, only []string) (v shownLayer, p shadowPlan, digest string, err error) {
	v = shownLayer{id: id, dir: dirs[0].root}
	if dirs[0].form != aufsForm {
		v.form = dirs[0].form
	}
	p, err = planShadows(dirs[0], s.to, dirs[1:], only)
	if err == nil {
		err = p.tooLong(s.to)
	}
	if err == nil {
		digest, err = p.digest(dirs[0], s.to)
	}
	v.opaque, v.unread, v.foreign = p.opaque, p.unread, dirs[0].form != s.to
	return v, p, digest, err
}

// places are the directories that shadows can be in, in <id>/<digest>/.
func (s *shadows) places() []string {
	places := []string{s.home.besideDiff().overlay(shadowDir)}
	if s.elsewhere != "" {
		places = append(places, s.elsewhere)
	}
	return places
}

// make makes the shadows of the layer id, whose directory is layer, in the first place that has room for them.
func (s *shadows) make(id, digest string, p shadowPlan, layer layerDir) error {
	var first error
	for _, place := range s.places() {
		err := s.makeAt(filepath.Join(place, id, digest), p, layer)
		if err == nil || !hasNoRoom(err) {
			return err
		}
		if first == nil {
			first = err
		}
	}
	return first
}

// makeAt makes shadows in the directory dir, which gets there whole.
func (s *shadows) makeAt(dir string, p shadowPlan, layer layerDir) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return err
	}
	newScratch := s.home.newScratch
	if s.elsewhere != "" && isBelow(dir, s.elsewhere) {
		newScratch = func(purpose string) (*scratch, error) { return newScratchIn(s.elsewhere, purpose) }
	}
	made, err := newScratch("shadow")
	if err != nil {
		return err
	}
	err = p.make(filepath.Join(made.dir, "new"), layer, s.to)
	if err == nil {
		err = os.Rename(filepath.Join(made.dir, "new"), dir)
		if errors.Is(err, fs.ErrExist) {
			// Somebody else has made it.
			err = nil
		}
	}
	return errors.Join(err, made.discard())
}

// make makes the shadows in the directory dir.
func (p *shadowPlan) make(dir string, layer layerDir, to form) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	for name, tree := range map[string]shadowTree{shadowAbove: p.above, shadowBelow: p.below} {
		if len(tree) > 0 {
			if err := tree.make(filepath.Join(dir, name), layer, to); err != nil {
				return err
			}
		}
	}
	return nil
}

// keep is for the next known. What cannot be kept is found out again.
func (s *shadows) keep(id string, v shownLayer, p shadowPlan, digest, stamp string) {
	flags := ""
	for _, f := range []struct {
		flag string
		is   bool
	}{{flagOpaque, v.opaque}, {flagUnread, v.unread}, {flagStacked, p.stacked}, {flagAbove, v.above != ""}, {flagBelow, v.below != ""}} {
		if f.is {
			flags += f.flag
		}
	}
	if flags == "" {
		flags = flagNone
	}
	if digest == "" {
		digest = flagNone
	}
	target := strings.Join([]string{knownVersion, flags, digest, stamp}, " ")
	if err := linkIn(target, s.links(), id); errors.Is(err, fs.ErrExist) {
		_ = s.home.replaceLink(target, filepath.Join(s.links(), id)) // see above
	}
}

// links is the directory of the links.
func (s *shadows) links() string { return s.home.overlay(knownDir, string(s.to)) }

// unmarked tells if the layer id is known to have no marks.
func (s *shadows) unmarked(id string) bool {
	look, err := s.lookAt([]string{id})
	if err != nil {
		return false
	}
	defer look.close()
	v, ok := look.known(0)
	return ok && s.to != aufsForm && v.above == "" && v.below == "" && !v.opaque
}

// forget drops what is known of the layer id, which is about to change, or just has. What is known of the layers on top of it goes by the times
// of its root directory.
func (h home) forget(id string) error {
	var known []string
	for _, f := range []form{aufsForm, overlayTrusted, overlayUser} {
		if path := h.overlay(knownDir, string(f), id); isThere(path) {
			known = append(known, path)
		}
	}
	if len(known) == 0 {
		return nil
	}
	// Before the links go: cut short in between, they do not count, and are still there for the next one.
	if err := renewTime(h.diff(id)); err != nil {
		return layerError("dropping what is known of", id, err)
	}
	for _, path := range known {
		if err := unix.Unlink(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return layerError("dropping what is known of", id, &fs.PathError{Op: "unlink", Path: path, Err: err})
		}
		// A crash brings it back otherwise, and not every file system brings back what was done after it as well.
		if err := syncDir(filepath.Dir(path)); err != nil {
			return layerError("dropping what is known of", id, err)
		}
	}
	return nil
}

// longestTick is longer than it takes the clocks of most file systems to go on. Some count whole seconds.
const longestTick = 1100 * time.Millisecond

// renewTime gives the directory of a layer, and by that all stamps with it, another time of the last change. Where the clock of the file system has
// not gone on since that, it waits.
func renewTime(dir string) error {
	before, err := lstatOf(dir)
	if err != nil {
		return err
	}
	for begin := time.Now(); time.Since(begin) < longestTick; time.Sleep(time.Millisecond) {
		// A change of mode that changes nothing.
		if err := unix.Chmod(dir, before.Mode&0o7777); err != nil {
			return &fs.PathError{Op: "chmod", Path: dir, Err: err}
		}
		if after, err := lstatOf(dir); err != nil || after.Ctim != before.Ctim {
			return err
		}
	}
	return nil
}
