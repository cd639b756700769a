package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	graphdriver "github.com/containers/storage/drivers"
	"github.com/containers/storage/pkg/lockfile"
	"github.com/seed-642172e2/aufs"
	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/moving"
	"github.com/seed-642172e2/aufs/internal/core/store"
)

// other has, for each driver, the one whose store can move to it.
var other = map[string]string{"overlay": "aufs", "aufs": "overlay"}

// moveStore makes a store of this driver one of the library's overlay driver, or the other way round. It returns the program's exit status: 0 if
// the store has moved, 1 if not or if some layers are not in aufs form, 2 if the command line is wrong.
func moveStore(ctx context.Context, args []string, out, errs io.Writer) int {
	flags := flag.NewFlagSet("example move", flag.ContinueOnError)
	flags.SetOutput(errs)
	flags.Usage = func() {
		fmt.Fprintln(errs, "usage: example move -to overlay|aufs [-runroot directory] graphroot\nno program may use the store, and no container may run")
		flags.PrintDefaults()
	}
	to := flags.String("to", "", "the `driver` that gets the store: overlay, or aufs")
	runRoot := flags.String("runroot", "/run/containers/storage", "the store's run root, a `directory`")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	if flags.NArg() != 1 || other[*to] == "" {
		flags.Usage()
		return 2
	}
	root, err := absolute(flags.Arg(0))
	if err == nil {
		m := &move{root: root, runRoot: *runRoot, from: other[*to], to: *to}
		err = m.run()
	}
	if err != nil {
		fmt.Fprintln(errs, "example move:", err)
		return 1
	}
	fmt.Fprintf(out, "the store is one of the driver %s now: say driver = %q in storage.conf\n", *to, *to)
	if *to == "aufs" {
		if err := aufs.Convert(ctx, filepath.Join(root, "aufs")); err != nil {
			fmt.Fprintf(errs, "example move: these layers are not in aufs form, so that only the overlay backend can use them:\n%v\n", err)
			return 1
		}
	}
	return 0
}

// A move is of the store in one graph root.
//
// While the layers move, the library's records of layers, images and containers are in a directory aside, which says that the move is to go on. In
// their place, and in that of the other driver's, there are files with the text of guard. So a program that opens the store with either driver
// fails, and changes nothing.
type move struct {
	root, runRoot, from, to string
	*moving.Move
}

// guard is the content of the files that stand in the place of records.
const guard = "A move of this store to another driver was cut short. Call the command again that moves it.\n"

// recordKinds are the directories with the library's records, without the driver's name before them. The records of layers are the last: once
// they are in their new place, the move is complete.
var recordKinds = []string{"images", "containers", "layers"}

func (m *move) records(driver, kind string) string { return filepath.Join(m.root, driver+"-"+kind) }

func (m *move) aside(kind string) string {
	return filepath.Join(m.root, "moving-"+m.from+"-to-"+m.to, kind)
}

func (m *move) home(driver string) string { return filepath.Join(m.root, driver) }

// run moves the store, or goes on with a move that was cut short.
func (m *move) run() error {
	lock, err := fsutil.TryLockDir(m.root)
	if err != nil {
		return err
	}
	if lock == nil {
		return fmt.Errorf("another call is moving the store in %s", m.root)
	}
	defer lock.Unlock()
	back, done := move{root: m.root, from: m.to, to: m.from}, m.isDone()
	switch {
	case isThere(back.aside("")):
		return fmt.Errorf("a move in the other direction was cut short: finish it with -to %s", m.from)
	case done && !isThere(m.aside("")):
		return nil
	case !isThere(m.aside("")) && !isThere(m.records(m.from, "layers")):
		return fmt.Errorf("%s has no store of the driver %s", m.root, m.from)
	case done, m.isRevealed("layers"), !isThere(m.records(m.from, "layers")) && isDir(m.records(m.to, "layers")):
		return m.reveal(m.to)
	}
	m.Move = moving.New(store.Home(m.home("aufs")), m.home("overlay"), m.runRoot, m.aside("times"), m.to == "aufs")
	again := m.isAside("layers")
	if !again {
		if err := m.begin(); err != nil {
			return m.giveBack(err)
		}
	}
	return m.goOn(again)
}

// isDone reports whether an earlier call has moved the store. A program that still has the old driver may have made directories for records since.
func (m *move) isDone() bool {
	for _, kind := range recordKinds {
		if isFree(m.records(m.from, kind), kind) != nil {
			return false
		}
	}
	empty, err := isEmptyOf(m.records(m.to, "layers"), "layers")
	return err == nil && !empty
}

// goOn moves the layers. The library's records of layers are aside. again says that another call has done so, and that the layers are to be checked
// again.
func (m *move) goOn(again bool) error {
	if err := m.setAside(); err != nil {
		return err
	}
	layers, err := readLayers(m.now("layers"), m.now("containers"))
	if err != nil {
		return err
	}
	driver, err := m.openAgain()
	if err == nil && again {
		err = m.Check(layers)
	}
	if err == nil {
		err = m.Run(layers)
	}
	if err != nil && !m.HasMoved(layers) {
		uerr := m.UndoConversions(layers)
		if uerr == nil && driver != nil {
			uerr = m.Undo(layers, driver.Remove)
		}
		if uerr != nil {
			return errors.Join(err, uerr)
		}
		return m.giveBack(err)
	}
	if driver != nil {
		err = errors.Join(err, driver.Cleanup())
	}
	if err != nil {
		return err
	}
	return m.end()
}

// openAgain prepares the homes, and opens the driver that the layers move to.
func (m *move) openAgain() (graphdriver.Driver, error) {
	if err := m.Sweep(); err != nil {
		return nil, err
	}
	if err := m.Unbind(); err != nil {
		return nil, err
	}
	return m.open()
}

// begin checks that the store can move, and moves the library's records aside.
func (m *move) begin() (err error) {
	unlock, err := m.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := m.Sweep(); err != nil {
		return err
	}
	if err := errors.Join(m.CheckMounts(), m.isNew()); err != nil {
		return err
	}
	if !isThere(m.home(m.to)) {
		defer func() {
			if err != nil {
				err = errors.Join(err, os.RemoveAll(m.home(m.to)))
			}
		}()
	}
	layers, err := readLayers(m.now("layers"), m.now("containers"))
	if err != nil {
		return err
	}
	// The host may be unable to have that driver, which also makes its home.
	driver, err := m.open()
	if err != nil {
		return err
	}
	if err := errors.Join(driver.Cleanup(), m.Check(layers), m.hasOnly(layers)); err != nil {
		return err
	}
	if err := m.Unbind(); err != nil {
		return err
	}
	if err := m.TryRename(); err != nil {
		return err
	}
	return m.setAside()
}

// lock takes the library's locks, so that no program is changing the records.
func (m *move) lock() (unlock func(), err error) {
	var held []*lockfile.LockFile
	unlock = func() {
		for _, lock := range held {
			lock.Unlock()
		}
	}
	for _, path := range []string{
		filepath.Join(m.root, "storage.lock"), m.records(m.from, "layers/layers.lock"), m.records(m.from, "images/images.lock"), m.records(m.from, "containers/containers.lock"),
	} {
		if !isThere(path) {
			continue
		}
		lock, err := lockfile.GetLockFile(path)
		if err != nil {
			unlock()
			return nil, err
		}
		lock.Lock()
		held = append(held, lock)
	}
	return unlock, nil
}

// isNew returns an error if the store has anything of the driver that it moves to.
func (m *move) isNew() error {
	for _, kind := range recordKinds {
		if err := isFree(m.records(m.to, kind), kind); err != nil {
			return err
		}
		if path := m.now(kind); isThere(path) && !isDir(path) {
			return fmt.Errorf("%s is no directory", path)
		}
	}
	ids, err := layersIn(m.to, m.home(m.to))
	// A call that was given back may have been unable to remove those that it had made.
	ids = slices.DeleteFunc(ids, func(id string) bool { return moving.MustBeEmpty(filesOf(m.to, m.home(m.to), id)) == nil })
	if err == nil && len(ids) > 0 {
		err = fmt.Errorf("%s has layers of the driver %s already, such as %s", m.root, m.to, ids[0])
	}
	return err
}

// hasOnly returns an error if the home that layers move from has others. They would be lost with it.
func (m *move) hasOnly(layers []moving.Layer) error {
	ids, err := layersIn(m.from, m.home(m.from))
	if err != nil {
		return err
	}
	for _, l := range layers {
		ids = slices.DeleteFunc(ids, func(id string) bool { return id == l.ID })
	}
	if len(ids) > 0 {
		return fmt.Errorf("%s has layers that are not in the records below %s, and would be lost: %s", m.home(m.from), m.root, strings.Join(ids, ", "))
	}
	return nil
}

// filesOf returns the directory of a layer's files in a driver's home.
func filesOf(driver, home, id string) string {
	if driver == "overlay" {
		return filepath.Join(home, id, "diff")
	}
	return filepath.Join(home, "diff", id)
}

// layersIn returns the ids of the layers whose files are in a driver's home. The overlay driver's home also has directories for links to layers, and
// for what the driver unpacks.
func layersIn(driver, home string) (ids []string, err error) {
	dir := home
	if driver != "overlay" {
		dir = filepath.Join(home, "diff")
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, entry := range entries {
		if store.CheckID(entry.Name()) == nil && isThere(filesOf(driver, home, entry.Name())) {
			ids = append(ids, entry.Name())
		}
	}
	return ids, err
}

// open opens the driver that the layers move to, and plans the move with it.
func (m *move) open() (graphdriver.Driver, error) {
	options := []string{m.to + ".skip_mount_home=true"}
	if m.to == "aufs" {
		options = append(options, "aufs.backend=auto")
	}
	d, err := graphdriver.GetDriver(m.to, graphdriver.Options{Root: m.root, RunRoot: m.runRoot, DriverOptions: options})
	if err == nil {
		m.Create = func(id, parent string) error { return d.Create(id, parent, nil) }
	}
	return d, err
}

// end removes the home that all layers have left, and gives the records their new names.
func (m *move) end() error {
	if err := errors.Join(m.hasOnly(nil), m.CheckMounts()); err != nil {
		return err
	}
	if err := errors.Join(os.RemoveAll(m.home(m.from)), fsutil.SyncDir(m.root)); err != nil {
		return err
	}
	return m.reveal(m.to)
}

func isThere(path string) bool { return store.IsThere(path) }

func isDir(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.IsDir()
}
