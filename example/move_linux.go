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
	"github.com/seed-642172e2/aufs/internal/core/moving"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"golang.org/x/sys/unix"
)

// other has, for each driver, the one whose store can move to it.
var other = map[string]string{"overlay": "aufs", "aufs": "overlay"}

// moveStore makes a store of this driver one of the library's overlay driver, or the other way round. It returns the program's exit status: 0 if
// the store has moved, 1 if not, 2 if the command line is wrong.
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
	if *to == "aufs" {
		if err := aufs.Convert(ctx, filepath.Join(root, "aufs")); err != nil {
			fmt.Fprintf(errs, "example move: the aufs backend cannot use these layers, and the overlay backend can:\n%v\n", err)
		}
	}
	fmt.Fprintf(out, "the store is one of the driver %s now: say driver = %q in storage.conf\n", *to, *to)
	return 0
}

// A move is of the store in one graph root.
//
// While the layers move, the library's records of layers, images and containers are in a directory aside. So no program takes the store for
// one of either driver until it is complete, and the directory says that the move is to go on.
type move struct {
	root, runRoot, from, to string
	*moving.Move
}

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
	lock, err := lockfile.GetLockFile(filepath.Join(m.root, "storage.lock"))
	if err != nil {
		return err
	}
	lock.Lock()
	defer lock.Unlock()
	m.Move = moving.New(store.Home(m.home("aufs")), m.home("overlay"), m.runRoot)
	back := move{root: m.root, from: m.to, to: m.from}
	if isThere(back.aside("")) {
		return fmt.Errorf("a move in the other direction was cut short: finish it with -to %s", m.from)
	}
	if !isThere(m.aside("")) {
		if err := m.begin(); err != nil {
			return err
		}
	}
	if err := m.setAside(); err != nil {
		return err
	}
	driver, err := m.open()
	if err != nil {
		return err
	}
	layers, err := readLayers(m.aside("layers"), m.aside("containers"))
	if err == nil {
		err = m.check(layers)
	}
	if err == nil && m.to == "overlay" {
		err = m.ToOverlay(layers)
	} else if err == nil {
		err = m.ToAufs(layers)
	}
	if err := errors.Join(err, driver.Cleanup()); err != nil {
		return err
	}
	return m.end()
}

// begin checks that the store can move. If it cannot, the store is as before.
func (m *move) begin() (err error) {
	if !isThere(m.records(m.from, "layers")) {
		return fmt.Errorf("%s has no store of the driver %s", m.root, m.from)
	}
	if !isThere(m.home(m.to)) {
		defer func() {
			if err != nil {
				err = errors.Join(err, os.RemoveAll(m.home(m.to)))
			}
		}()
	}
	if err := m.isNew(); err != nil {
		return err
	}
	layers, err := readLayers(m.records(m.from, "layers"), m.records(m.from, "containers"))
	if err != nil {
		return err
	}
	// The host may be unable to have that driver.
	driver, err := m.open()
	if err != nil {
		return err
	}
	if err := errors.Join(m.check(layers), m.hasOnly(layers), driver.Cleanup()); err != nil {
		return err
	}
	return errors.Join(os.Mkdir(m.aside(""), 0o700), syncDir(m.root))
}

// check checks that all layers that have not moved can.
func (m *move) check(layers []moving.Layer) error {
	if m.to == "overlay" {
		return m.CheckToOverlay(layers)
	}
	return m.CheckToAufs(layers)
}

// isNew returns an error if the store has anything of the driver that it moves to.
func (m *move) isNew() error {
	for _, kind := range recordKinds {
		if empty, err := isEmptyOf(m.records(m.to, kind), kind); err != nil || !empty {
			return errors.Join(err, fmt.Errorf("%s has records of the driver %s already, in %s", m.root, m.to, m.records(m.to, kind)))
		}
	}
	ids, err := layersIn(m.to, m.home(m.to))
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
		return fmt.Errorf("the library's records do not have the layers %s: remove them, for example with podman system check --repair", strings.Join(ids, ", "))
	}
	return nil
}

// layersIn returns the ids of the layers whose files are in a driver's home.
func layersIn(driver, home string) (ids []string, err error) {
	dir, file := filepath.Join(home, "diff"), "."
	if driver == "overlay" {
		// Other directories than those of layers are for links to layers, and for what the driver unpacks.
		dir, file = home, "diff"
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, entry := range entries {
		if isThere(filepath.Join(dir, entry.Name(), file)) {
			ids = append(ids, entry.Name())
		}
	}
	return ids, err
}

// setAside moves the library's records aside.
func (m *move) setAside() error {
	if err := m.Unbind(); err != nil {
		return err
	}
	for _, kind := range recordKinds {
		if !isThere(m.records(m.from, kind)) {
			continue
		}
		if isThere(m.aside(kind)) {
			return fmt.Errorf("%s is there again: some program has used the store during the move", m.records(m.from, kind))
		}
		if err := os.Rename(m.records(m.from, kind), m.aside(kind)); err != nil {
			return err
		}
	}
	return errors.Join(syncDir(m.aside("")), syncDir(m.root))
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
	err := m.hasOnly(nil)
	if err == nil {
		err = os.RemoveAll(m.home(m.from))
	}
	if err != nil {
		return err
	}
	for _, kind := range recordKinds {
		if !isThere(m.aside(kind)) {
			continue
		}
		target := m.records(m.to, kind)
		empty, err := isEmptyOf(target, kind)
		if err == nil && !empty {
			err = fmt.Errorf("%s has records: some program has used the store during the move", target)
		}
		if err == nil {
			err = os.RemoveAll(target)
		}
		if err == nil {
			err = os.Rename(m.aside(kind), target)
		}
		if err != nil {
			return err
		}
	}
	return errors.Join(syncDir(m.root), os.Remove(m.aside("")), syncDir(m.root))
}

func isThere(path string) bool { return store.IsThere(path) }

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return unix.Fsync(int(dir.Fd()))
}
