// Package storetest has what the tests of several packages need: trees of files, archives, and the backends of the host.
package storetest
