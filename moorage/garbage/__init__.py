from moorage.common.extras import require

require("aws")
