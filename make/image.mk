.PHONY: image
image: $(OWN_IMAGE)/index.json ## Make an image of Debian packages, for the tests
$(OWN_IMAGE)/index.json: $(wildcard $(IMAGETEST)/mklayout/* $(IMAGETEST)/layout/*)
	@need=; \
	$(call missing,command -v apt-get,apt); \
	$(call missing,command -v dpkg-deb,dpkg); \
	$(install-missing)
	cd $(IMAGETEST) && $(GO) build -o $(CURDIR)/$(BUILD)/mklayout -tags '$(IMAGETEST_TAGS)' ./mklayout
	@[ "$$(id -u)" != 0 ] || apt-get -qq update >&2
	$(call download,$(BUILD)/debs,$$($(CURDIR)/$(BUILD)/mklayout -list))
	$(BUILD)/mklayout -debs $(BUILD)/debs -out $(OWN_IMAGE)
