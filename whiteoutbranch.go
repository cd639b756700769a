//go:build linux

package aufs

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/containers/storage/pkg/archive"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// Of a directory that is opaque in several branches, aufs takes the lowest one for the one that counts (measured with aufs
// 2024-07-01 on Linux 6.1; au_lkup_dentry in fs/aufs/dentry.c, which looks on below an opaque directory that it has not
// seen before): what the upper ones hide is seen again. So no branch but the writable one may have an opaque directory.
//
// An ancestor that has some is mounted as two branches. The layer's own directory is one, with the permission "ro", which
// means that its marks don't count; below it stands a whiteout branch, "ro+wh", which holds nothing but whiteouts: those
// of the layer, and one for each name that its opaque directories hide.

// split is how the aufs backend mounts an ancestor, as a letter of the record of a stack.
type split byte

const (
	// splitNot: as one branch.
	splitNot split = 'n'
	// splitHidesNothing: as one branch, whose opaque directories do not count. There is nothing below for them to hide.
	splitHidesNothing split = 'h'
	// splitInTwo: as a branch whose opaque directories do not count, and a whiteout branch.
	splitInTwo split = 's'
)

func (b *aufsBackend) records() stackRecords {
	return stackRecords{b.home.whiteouts(), string([]byte{byte(splitNot), byte(splitHidesNothing), byte(splitInTwo)}), byte(splitInTwo)}
}

// ancestor is a layer below the top of a stack, as the aufs backend mounts it.
type ancestor struct {
	id string
	// dir is the layer's directory.
	dir string
	// stamp tells the state of this layer and all below it; it is "" if that cannot be relied on.
	stamp string
}

// ancestorsOf describes the parents of a stack, nearest first.
func ancestorsOf(s stack) ([]ancestor, error) {
	ancestors := make([]ancestor, len(s.parents))
	below, reliable := "", true
	for i := len(ancestors) - 1; i >= 0; i-- {
		dir := s.parentDirs[i]
		own, err := rootStamp(dir)
		if err != nil {
			return nil, err
		}
		below = fmt.Sprintf("%x", sha256.Sum256([]byte(below+own)))
		reliable = reliable && !wasWritable(dir)
		ancestors[i] = ancestor{id: s.parents[i], dir: dir}
		if reliable {
			ancestors[i].stamp = below
		}
	}
	return ancestors, nil
}

// branchesOf are the branches of the stack s, top to bottom. Whiteout branches that cannot be kept are made in the
// directory run, for this mount alone.
func (b *aufsBackend) branchesOf(s stack, run string) ([]branch, error) {
	top := branch{b.home.diff(s.id), topPermission(s.options.readOnly())}
	splits := s.known
	var own map[string]string
	if splits == "" && len(s.parents) > 0 {
		generation, err := b.home.use(s.parents)
		if err != nil {
			return nil, err
		}
		if splits, own, err = b.findSplits(s, run, generation); err != nil {
			return nil, err
		}
		if len(own) == 0 {
			b.records().keep(s.parents, s.stamp, generation, splits)
		}
	}
	branches := append(make([]branch, 0, len(splits)+1), top)
	for i, letter := range []byte(splits) {
		split := split(letter)
		dir := s.parentDirs[i]
		whiteouts := own[s.parents[i]]
		if split == splitInTwo && whiteouts == "" {
			whiteouts = b.home.whiteouts().path(s.parents[i], derivedRoot)
		}
		switch split {
		case splitNot:
			branches = append(branches, branch{dir, "ro+wh"})
		case splitHidesNothing:
			branches = append(branches, branch{dir, "ro"})
		case splitInTwo:
			branches = append(branches, branch{dir, "ro"}, branch{whiteouts, "ro+wh"})
		}
	}
	return branches, nil
}

// findSplits finds out how each of the parents of the stack s is split. own are those whiteout branches that were made in run,
// by the ids of their layers; if there are any, or could be, the next mount has to find out again. generation is what use has returned.
func (b *aufsBackend) findSplits(s stack, run, generation string) (splits string, own map[string]string, err error) {
	ancestors, err := ancestorsOf(s)
	if err != nil {
		return "", nil, err
	}
	own = map[string]string{}
	letters := make([]byte, 0, len(ancestors))
	for i, a := range ancestors {
		if a.stamp == "" {
			own[a.id] = ""
		}
		whiteouts, isSplit, err := b.whiteoutBranch(a, ancestors[i+1:], run, generation)
		if err != nil {
			return "", nil, layerError("making the whiteout branch of", a.id, err)
		}
		switch {
		case !isSplit:
			letters = append(letters, byte(splitNot))
		case whiteouts == "":
			letters = append(letters, byte(splitHidesNothing))
		default:
			letters = append(letters, byte(splitInTwo))
			if whiteouts != b.home.whiteouts().path(a.id, derivedRoot) {
				own[a.id] = whiteouts
			}
		}
	}
	return string(letters), own, nil
}

// whiteoutBranch tells if the layer a has to be split in two branches, and returns the lower one of them, or "" if
// nothing has to be in that.
func (b *aufsBackend) whiteoutBranch(a ancestor, below []ancestor, run, generation string) (dir string, split bool, err error) {
	cache := b.home.whiteouts()
	if a.stamp != "" {
		if root, ok := cache.known(a.id, a.stamp); ok {
			return nonEmpty(root)
		}
	}
	lock, err := b.home.lockID(a.id)
	if err != nil {
		return "", false, err
	}
	defer lock.unlock()
	whiteouts := recipe{
		needed:     func() (bool, error) { return canSplit(a) },
		make:       func(root string) error { return makeWhiteouts(a, below, root) },
		generation: generation,
	}
	if a.stamp != "" {
		// Somebody may have made it during the wait for the lock, and have it mounted by now.
		if root, ok := cache.known(a.id, a.stamp); ok {
			return nonEmpty(root)
		}
		root, err := cache.find(a.id, a.stamp, whiteouts)
		if err == nil {
			return nonEmpty(root)
		}
		if run != "" || !errors.Is(err, unix.EROFS) {
			return "", false, err
		}
	}
	if run == "" {
		opaque, _, err := inspect(a.dir, ".")
		if err == nil && opaque {
			err = errNoRun
		}
		return "", false, err
	}
	if needed, err := whiteouts.needed(); err != nil || !needed {
		return "", false, err
	}
	root := filepath.Join(run, a.id)
	if err := whiteouts.make(root); err != nil {
		return "", false, err
	}
	if _, err := os.Lstat(root); errors.Is(err, fs.ErrNotExist) {
		root = ""
	}
	return nonEmpty(root)
}

// canSplit tells if a has an opaque directory, and can be split.
func canSplit(a ancestor) (bool, error) {
	opaque, beside, err := inspect(a.dir, ".")
	if err != nil || !opaque {
		return false, err
	}
	if beside != "" {
		// With "ro" it would be seen. The layer as it is hides what its opaque directories do, if no other one has them
		// opaque.
		logrus.Warnf("aufs: layer %s: %s is there beside its own whiteout; mounting the layer as it is", a.id, beside)
		return false, nil
	}
	return true, nil
}

// makeWhiteouts makes root a whiteout branch for a, or nothing, if there is none that could be made.
func makeWhiteouts(a ancestor, below []ancestor, root string) error {
	err := makeWhiteoutBranch(a.dir, below, root)
	if errors.Is(err, unix.ENAMETOOLONG) {
		logrus.Warnf("aufs: layer %s: %v; mounting it as it is", a.id, err)
		return os.RemoveAll(root)
	}
	return err
}

// nonEmpty tells what to do with a layer for which root was made, or nothing, if root is "".
func nonEmpty(root string) (dir string, split bool, err error) {
	if root == "" {
		return "", false, nil
	}
	entries, err := os.ReadDir(root)
	if err != nil || len(entries) == 0 {
		return "", true, err
	}
	return root, true, nil
}

// inspect looks through the directory rel of the layer in aufs form at root, and those below it: is any of them opaque?
// beside is a file that stands beside its own whiteout, which hides it, if there is one.
func inspect(root, rel string) (opaque bool, beside string, err error) {
	l, err := readListing(root, rel, aufsForm)
	if err != nil {
		return false, "", err
	}
	opaque = l.opaque
	for name, entry := range l.entries {
		path := filepath.Join(rel, name)
		if l.whiteouts[name] {
			beside = path
		}
		if !entry.IsDir() {
			continue
		}
		o, b, err := inspect(root, path)
		if err != nil {
			return false, "", err
		}
		opaque = opaque || o
		if b != "" {
			beside = b
		}
	}
	return opaque, beside, nil
}

// makeWhiteoutBranch makes target a whiteout branch for the layer at root, on top of the layers below. All are in aufs
// form.
func makeWhiteoutBranch(root string, below []ancestor, target string) error {
	layers := make([]layerDir, 0, len(below))
	for _, a := range below {
		layers = append(layers, layerDir{root: a.dir, form: aufsForm})
	}
	if err := os.Mkdir(target, 0o700); err != nil {
		return err
	}
	if err := whiteoutDirectory(root, ".", layers, target); err != nil {
		return err
	}
	return copyDirMetadata(root, aufsForm, target)
}

// whiteoutDirectory makes the whiteouts for the one directory rel, and for those below it that layers have as well.
func whiteoutDirectory(root, rel string, layers []layerDir, target string) error {
	own, err := readListing(root, rel, aufsForm)
	if err != nil {
		return err
	}
	before, err := readMerged(layers, rel, nil)
	if err != nil {
		return err
	}
	hidden := own.whiteouts
	if own.opaque {
		hidden = before.names()
	}
	for name := range hidden {
		if !before.shows(name) {
			continue
		}
		if err := makeWhiteout(root, rel, name, target); err != nil {
			return err
		}
	}
	if own.opaque {
		// All that layers have here is hidden by what was just made.
		return nil
	}
	for name, entry := range own.entries {
		if !entry.IsDir() || own.whiteouts[name] || !before.shows(name) {
			continue
		}
		below := before.dirs(name)
		if len(below) == 0 {
			// A directory in the place of a file. Aufs looks for more directories of that name below the file.
			err = makeWhiteout(root, rel, name, target)
		} else {
			err = whiteoutDirectory(root, filepath.Join(rel, name), below, target)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// makeWhiteout makes the whiteout of a name in the directory rel of target, which it makes like that of root.
func makeWhiteout(root, rel, name, target string) error {
	if err := makeDirsLike(root, rel, target); err != nil {
		return err
	}
	dir, err := openBelow(target, rel)
	if err != nil {
		return err
	}
	defer dir.close()
	err = makeMark(dir, archive.WhiteoutPrefix+name)
	if errors.Is(err, unix.ENAMETOOLONG) {
		return fmt.Errorf("%s is too long a name to be deleted: %w", filepath.Join(rel, name), err)
	}
	return err
}

// makeDirsLike makes the directory rel of target, and those that lead to it, with the owners and modes of those of root.
func makeDirsLike(root, rel, target string) error {
	if there, err := openBelow(target, rel); err == nil {
		there.close()
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := makeDirsLike(root, filepath.Dir(rel), target); err != nil {
		return err
	}
	above, err := openBelow(target, filepath.Dir(rel))
	if err != nil {
		return err
	}
	defer above.close()
	if err := above.mkdirWithoutACL(filepath.Base(rel), 0o700); err != nil {
		return err
	}
	return copyMetadataBeneath(root, rel, aufsForm, target)
}
