//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"

	"github.com/seed-642172e2/aufs/internal/bats"
)

// expectedTests has podman's own tests that end otherwise with this driver, each with the reason.
var expectedTests = map[string]string{}

// imageScript makes the image that podman's tests need, and that they would get from a registry. It has what their build-testimage says, with
// busybox for alpine. The script puts it where the tests look before they ask a registry. The script skopeo that it leaves in $BIN does what the
// tests call skopeo for: it loads that image again.
const imageScript = `
	cache=$TMPDIR/podman-systest-imagecache-$(id -u); rm -rf $cache
	mkdir -p $cache image/home/podman
	fill image
	echo ntp 123/udp >image/etc/services
	cd image/home/podman
	echo ${IMAGE_NAME##*:} >testimage-id; touch --date=@1600000000 testimage-id
	printf '#!/bin/sh\ntrap "exit 0" SIGTERM\necho Confirmed: testimage pause invoked as $0\nwhile :; do sleep 0.1; done\n' >pause
	printf '#!/bin/sh\nif [ -e /uh-oh ] || [ -e /uh-oh-only-once ]; then echo Uh-oh on stdout!; echo Uh-oh on stderr! >&2; rm -f /uh-oh-only-once; exit 1; fi
echo Life is Good on stdout; echo Life is Good on stderr >&2\n' >healthcheck
	chmod 755 pause healthcheck
	cd ../../..
	tar -C image -cf image.tar .
	podman import -q -c 'WORKDIR /home/podman' -c 'LABEL created_by=test/system/build-testimage' -c "LABEL created_at=$(date -u +%FT%TZ)" \
		-c 'CMD ["/bin/echo", "This container is intended for podman CI testing"]' image.tar $IMAGE_NAME >/dev/null
	podman save -q --format oci-archive -o $cache/$(sed 's;[/:];--;g' <<<$IMAGE_NAME).tar $IMAGE_NAME
	printf '#!/bin/sh\n# skopeo copy --all oci-archive:FILE containers-storage:NAME\ncase $3 in oci-archive:*) exec podman load -q -i "${3#*:}";; *) echo "no network: skopeo $*" >&2; exit 1;; esac\n' >$BIN/skopeo
	chmod 755 $BIN/skopeo`

// compareSystemTests runs podman's own tests with both drivers. One that fails with both is no failure: many need what a machine without a
// network lacks.
func (c clients) compareSystemTests(ctx context.Context, out io.Writer) error {
	if err := bats.Open(c.tests, ours); err != nil {
		return err
	}
	var all [2]bats.Outcomes
	for i, driver := range drivers() {
		var err error
		if all[i], err = c.runSystemTests(ctx, out, driver); err != nil {
			return fmt.Errorf("podman's tests with the driver %s: %w", driver, err)
		}
	}
	fmt.Fprintln(out, "\npodman's own tests:")
	return bats.Comparison{Expected: expectedTests, MayFail: true}.Print(out, all[0], all[1])
}

// runSystemTests runs podman's own tests with one driver, in a store of their own.
func (c clients) runSystemTests(ctx context.Context, out io.Writer, driver string) (bats.Outcomes, error) {
	files, err := c.systemTestFiles()
	if err != nil {
		return nil, err
	}
	image, err := testImage(filepath.Join(c.tests, "helpers.bash"))
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(c.dir, "tests-"+driver)
	env, err := c.configure(dir, driver)
	if err != nil {
		return nil, err
	}
	env = append(env, "PODMAN="+filepath.Join(dir, "bin", "podman"), "BIN="+filepath.Join(dir, "bin"), "IMAGE_NAME="+image,
		"PODMAN_TESTING="+filepath.Join(filepath.Dir(c.podman), "podman-testing"))
	made, err := step{"image", imageScript}.run(ctx, dir, env)
	if err != nil || made.failed != "" {
		return nil, errors.Join(err, fmt.Errorf("make the image: %s: %s", made.failed, made.stderr))
	}
	cmd := exec.CommandContext(ctx, "bats", append([]string{"--tap"}, files...)...)
	cmd.Dir, cmd.Env = c.tests, env
	fmt.Fprintf(out, "\npodman's own tests with %s:\n", driver)
	return bats.Run(ctx, cmd, out)
}

// systemTestFiles returns the files of tests to run.
func (c clients) systemTestFiles() ([]string, error) {
	all, err := filepath.Glob(filepath.Join(c.tests, "*.bats"))
	if err != nil {
		return nil, err
	}
	var files []string
	for _, file := range all {
		if c.testFiles.MatchString(filepath.Base(file)) {
			files = append(files, file)
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("no file of tests in %s has a name that matches %s", c.tests, c.testFiles)
	}
	return files, nil
}

// imageTag finds the tag of the image for the tests in their helpers.bash.
var imageTag = regexp.MustCompile(`(?m)^PODMAN_TEST_IMAGE_TAG=\$\{PODMAN_TEST_IMAGE_TAG:-"(\w+)"\}$`)

// testImage returns the name of the image that the tests need.
func testImage(helpers string) (string, error) {
	content, err := os.ReadFile(helpers)
	if err != nil {
		return "", err
	}
	found := imageTag.FindStringSubmatch(string(content))
	if found == nil {
		return "", fmt.Errorf("%s does not say which image the tests need", helpers)
	}
	return "quay.io/libpod/testimage:" + found[1], nil
}
