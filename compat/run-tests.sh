#!/bin/sh
# Runs all tests: two files at once, and alone those that compare recorded speech, because gaps in it fail them.
ALONE=tests/voice-page-speech.test.js

status=0
# shellcheck disable=SC2046 # No name of a test has a space.
node --test --test-reporter=spec --test-concurrency=2 $(ls tests/*.test.js | grep -vx "$ALONE") || status=1
node --test --test-reporter=spec "$ALONE" || status=1
exit $status
