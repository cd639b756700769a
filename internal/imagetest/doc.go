// Package imagetest tests the driver with a real image, through the libraries
// that podman, buildah and skopeo stand on: github.com/containers/image copies
// the image into a store and out again, and the storage library makes
// containers of it. It has nothing but tests.
//
// The image is made of Debian packages by the command mklayout, and the tests
// find it by the environment variable AUFS_TEST_IMAGE. "make test" does both.
//
// The package is in a module of its own, so that those who use the driver don't
// get to see what it depends on.
package imagetest
