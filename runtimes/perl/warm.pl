# Loads what programs load most, so that a template's page cache holds it.
use strict;
use warnings;
use utf8;
use Carp;
use Cwd qw(getcwd);
use Data::Dumper;
use Digest::SHA qw(sha256_hex);
use Encode qw(encode decode);
use File::Basename;
use File::Spec;
use File::Temp qw(tempfile);
use Getopt::Long;
use IO::Handle;
use JSON::PP;
use List::Util qw(sum first);
use MIME::Base64;
use POSIX qw(floor strftime);
use Scalar::Util qw(blessed);
use Storable qw(dclone);
use Time::HiRes qw(time);
use Time::Local;

my %found;
$found{$1}++ while 'warm the cache' =~ /(\w+)/g;
print JSON::PP->new->canonical->encode(\%found), strftime('%Y', gmtime 0), sum(1, 2), sha256_hex('warm'), "\n";
print sprintf('%.3f', rand), encode('UTF-8', "\x{2603}"), Dumper([1]), `true`, "\n";
