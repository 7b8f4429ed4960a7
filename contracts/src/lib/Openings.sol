// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {ClaimRecord, Opening, Pot, PPM, Share} from "../interfaces/Types.sol";
import {Point} from "./Draws.sol";
import {Hashes} from "./Hashes.sol";
import {Signatures} from "./Signatures.sol";
import {SumTree} from "./SumTree.sol";

/// @title Receipts that show drawn points
/// @notice A point is shown by a receipt that the payer countersigned, with a share for the point's account whose part
/// of the account's entry covers the point. A receipt has one place on the claim's line, so it has one leaf in the
/// node's tree. So the parts of an account measure together at most what countersigned receipts give to it.
library Openings {
    error NotShown(uint256 pot, address account, uint256 offset);
    error NotCountersigned(bytes32 digest);
    error Misplaced(bytes32 digest);
    error BadShares(bytes32 datanetId, uint256 sum);

    /// @notice Revert unless `opening` shows `point` of the list of the claim `record`. `domain` is the EIP-712 domain
    /// separator of receipts.
    function check(
        Opening calldata opening,
        Point memory point,
        ClaimRecord calldata record,
        bytes32 receiptsRoot,
        bytes32 domain
    ) internal pure {
        Pot calldata pot = record.pots[point.pot];
        _checkShare(opening, point, pot.datanetId);
        _checkWhole(opening.shares, pot.datanetId);
        bytes32 digest = MessageHashUtils.toTypedDataHash(domain, Hashes.ofReceipt(opening, pot.adapterId));
        // Signer 0, of a bad signature, is nobody's authorizer: only items of opened channels have money on the line.
        address signer = Signatures.signerOf(digest, opening.countersignature);
        if (signer != opening.authorizer) revert NotCountersigned(digest);
        uint256 claimed = _placeInClaim(opening, pot.adapterId, record.itemsRoot, digest);
        bytes32 leaf = Hashes.ofReceiptLeaf(digest, opening.offsets);
        if (SumTree.placeOf(receiptsRoot, leaf, opening.amount, opening.receipt) != claimed) revert Misplaced(digest);
    }

    /// @dev The share is the account's in this Datanet, and its part of the account's entry covers the point.
    function _checkShare(Opening calldata opening, Point memory point, bytes32 datanetId) private pure {
        Share calldata share = opening.shares[opening.share];
        uint256 start = opening.offsets[opening.share];
        bool isTheirs = share.datanetId == datanetId && share.account == point.account;
        if (!isTheirs || point.offset < start || point.offset - start >= uint256(opening.amount) * share.ppm) {
            revert NotShown(point.pot, point.account, point.offset);
        }
    }

    /// @dev Otherwise a payer who is the node's friend could countersign shares of far more than was paid.
    function _checkWhole(Share[] calldata shares, bytes32 datanetId) private pure {
        uint256 sum = 0;
        for (uint256 i = 0; i < shares.length; ++i) {
            Share calldata share = shares[i];
            if (share.datanetId == datanetId) sum += share.ppm;
        }
        if (sum != PPM) revert BadShares(datanetId, sum);
    }

    /// @dev Where the receipt's money begins on the claim's line. It lies within what its lane's item has claimed.
    function _placeInClaim(Opening calldata opening, bytes32 adapterId, bytes32 itemsRoot, bytes32 digest)
        private
        pure
        returns (uint256)
    {
        (uint128 from, uint128 to) = (opening.from, opening.to);
        if (opening.cumulative > to || opening.cumulative < uint256(from) + opening.amount) revert Misplaced(digest);
        bytes32 leaf = Hashes.ofItem(opening.channelId, adapterId, opening.authorizer, from, to);
        uint256 place = SumTree.placeOf(itemsRoot, leaf, to - from, opening.item);
        return place + opening.cumulative - opening.amount - from;
    }
}
