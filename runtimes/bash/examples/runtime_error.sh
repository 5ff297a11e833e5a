echo before
set -u
echo "${missing}"
