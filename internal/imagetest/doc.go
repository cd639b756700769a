// Package imagetest tests the driver with a real image, through the libraries
// under podman, buildah and skopeo: github.com/containers/image copies the
// image into a store and out again, and the storage library makes containers
// from it. The package contains only tests.
//
// The command mklayout makes the image from Debian packages. The environment
// variable AUFS_TEST_IMAGE tells the tests where the image is. "make test"
// makes the image and sets the variable.
//
// The package is in a module of its own, so that users of the driver do not see
// its dependencies.
package imagetest
