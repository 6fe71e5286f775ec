"""CloudFront for a local registry, which needs the extra `local`."""

from moorage.common.extras import require

require("local")
