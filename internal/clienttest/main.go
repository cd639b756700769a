//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"
)

func main() {
	var c clients
	only := flag.String("steps", "", "regular `expression` of the steps to run; those that need others fail without them")
	flag.StringVar(&c.podman, "podman", "podman", "the `program`")
	flag.StringVar(&c.buildah, "buildah", "", "the `program`, which a step and some of podman's own tests call; none: the step is left out")
	flag.StringVar(&c.backend, "backend", "auto", "the driver's option `backend`")
	flag.StringVar(&c.dir, "dir", "", "an empty `directory` for the stores, on the file system to test")
	flag.StringVar(&c.tests, "tests", "", "a copy of podman's test/system, a `directory`, which is changed; none: its tests are left out")
	files := flag.String("files", `^(010|020|060|065|070|110|120|125|140|160|170|320|331)-`, "regular `expression` of the files of podman's tests")
	flag.BoolVar(&c.verbose, "v", false, "show what the steps print")
	flag.Parse()
	pattern, err := regexp.Compile(*only)
	if err == nil {
		c.testFiles, err = regexp.Compile(*files)
	}
	if err != nil || c.dir == "" || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	for _, s := range life() {
		if pattern.MatchString(s.name) && (s.name != buildahStep || c.buildah != "") {
			c.steps = append(c.steps, s)
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	if err := run(ctx, os.Stdout, c); err != nil {
		fmt.Fprintln(os.Stderr, "clienttest:", err)
		os.Exit(1)
	}
}

// run runs the steps with both drivers, and prints what differs.
func run(ctx context.Context, out io.Writer, c clients) error {
	var all [2]results
	for i, driver := range drivers() {
		var err error
		if all[i], err = c.live(ctx, out, driver); err != nil {
			return fmt.Errorf("with the driver %s: %w", driver, err)
		}
	}
	err := compare(out, expected, all[0], all[1])
	if c.tests != "" {
		err = errors.Join(err, c.compareSystemTests(ctx, out))
	}
	return err
}

// drivers returns the drivers to compare: this module's, and the library's.
func drivers() []string { return []string{ours, "overlay"} }

// ours is the name of this module's driver.
const ours = "aufs"

// configure writes the configuration of the programs into dir, and returns the variables that name it.
func (c clients) configure(dir, driver string) ([]string, error) {
	root := filepath.Join(dir, "root")
	files := map[string]string{
		"storage.conf": fmt.Sprintf("[storage]\ndriver = %q\ngraphroot = %q\nrunroot = %q\n", driver, root, filepath.Join(dir, "run")),
		"aufs.conf":    fmt.Sprintf("backend = %q\n", c.backend),
		"containers.conf": fmt.Sprintf("[containers]\nnetns = \"none\"\nlog_driver = \"k8s-file\"\npids_limit = 0\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\ndefault_sysctls = []\n[engine]\ncgroup_manager = \"cgroupfs\"\n"+
			"events_logger = \"file\"\nruntime = \"crun\"\ntmp_dir = %q\n", filepath.Join(dir, "tmp_dir")),
		"registries.conf": "",
	}
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, err
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			return nil, err
		}
	}
	bin := filepath.Join(dir, "bin")
	if err := os.Mkdir(bin, 0o700); err != nil {
		return nil, err
	}
	if err := os.Symlink(c.podman, filepath.Join(bin, "podman")); err != nil {
		return nil, err
	}
	if c.buildah != "" {
		if err := os.Symlink(c.buildah, filepath.Join(bin, "buildah")); err != nil {
			return nil, err
		}
	}
	env := append(os.Environ(), "PODMAN_IGNORE_CGROUPSV1_WARNING=yes", "PATH="+bin+":"+os.Getenv("PATH"), "ROOT="+root, "HOME="+dir, "TMPDIR=/var/tmp",
		"CONTAINERS_STORAGE_CONF="+filepath.Join(dir, "storage.conf"), "CONTAINERS_CONF="+filepath.Join(dir, "containers.conf"),
		"CONTAINERS_REGISTRIES_CONF="+filepath.Join(dir, "registries.conf"))
	return env, nil
}

// clean is text that two stores have in common: ids, digests, times and the paths of the store are replaced.
func clean(text, dir, driver string) string {
	text = strings.ReplaceAll(text, dir, "<dir>")
	for _, r := range []struct{ pattern, with string }{
		{`\b(sha256:)?[0-9a-f]{64}\b`, "<id>"},
		{`\b[0-9a-f]{12}\b`, "<id>"},
		{`\d{4}-\d\d-\d\d[T ][0-9:.]+( ?[-+]\d\d:?\d\d)?( UTC)?Z?`, "<time>"},
		{`<dir>/root/` + driver + `/(mnt/)?<id>(/merged)?`, "<mount>"},
		{`<dir>/root/` + driver + `\b`, "<home>"},
		{`\b` + driver + `\b`, "<driver>"},
	} {
		text = regexp.MustCompile(r.pattern).ReplaceAllString(text, r.with)
	}
	return text
}
