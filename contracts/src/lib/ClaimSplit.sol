// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IDatanetRegistry} from "../interfaces/IDatanetRegistry.sol";
import {Terms} from "../interfaces/IModelRegistry.sol";
import {ClaimTerms} from "../interfaces/IParams.sol";
import {ClaimRecord, Credit, PPM, Pot} from "../interfaces/Types.sol";

/// @notice The gross of one adapter in a claim, the place on the claim's line where it begins, and the terms by which
/// it is divided.
struct Line {
    bytes32 adapterId;
    uint256 gross;
    uint128 start;
    Terms terms;
}

/// @title The division of a claim
/// @notice Every share is rounded down, adapter by adapter. The node gets what is left, so the parts sum to the whole.
library ClaimSplit {
    uint256 private constant POTS_MAX = 64;

    /// @dev The numbers of credits and pots that are filled, and the sum of their amounts.
    struct Cursor {
        uint256 credits;
        uint256 pots;
        uint128 others;
    }

    error TooManyPots(uint256 count, uint256 max);

    /// @notice Fill in gross, protocol, nodeShare, credits and pots of `record`.
    /// @dev The sum of all lines is below 2^128, since payers have deposited it. So every share is below 2^128 as well.
    function split(ClaimRecord memory record, ClaimTerms memory terms, Line[] memory lines, IDatanetRegistry datanets)
        internal
        view
    {
        uint256 numPots = _countPots(lines);
        if (numPots > POTS_MAX) revert TooManyPots(numPots, POTS_MAX);
        record.credits = new Credit[](lines.length + numPots);
        record.pots = new Pot[](numPots);
        // slither-disable-next-line uninitialized-local: memory begins as zeros
        Cursor memory at;
        for (uint256 a = 0; a < lines.length; ++a) {
            Line memory line = lines[a];
            if (line.gross == 0) continue;
            // Items ascend by adapter, so the lines follow one another.
            line.start = record.gross;
            record.gross += uint128(line.gross);
            record.protocol += _share(line.gross, terms.protocolPpm);
            if (line.adapterId == 0) continue;
            _credit(record, at, line.terms.owner, _share(line.gross, line.terms.royaltyPpm));
            _fillPots(record, at, line, _share(line.gross, terms.dataPpm), datanets);
        }
        _shorten(record.credits, at.credits);
        record.nodeShare = record.gross - record.protocol - at.others;
    }

    function _fillPots(
        ClaimRecord memory record,
        Cursor memory at,
        Line memory line,
        uint128 dataShare,
        IDatanetRegistry datanets
    ) private view {
        for (uint256 d = 0; d < line.terms.datanetIds.length; ++d) {
            (address owner, uint32 ownerPpm) = datanets.ownerTermsOf(line.terms.datanetIds[d]);
            uint128 amount = _share(dataShare, line.terms.weightsPpm[d]);
            uint128 cut = _share(amount, ownerPpm);
            _credit(record, at, owner, cut);
            Pot memory pot = record.pots[at.pots++];
            (pot.adapterId, pot.datanetId) = (line.adapterId, line.terms.datanetIds[d]);
            (pot.start, pot.gross, pot.amount) = (line.start, uint128(line.gross), amount - cut);
            at.others += pot.amount;
        }
    }

    function _credit(ClaimRecord memory record, Cursor memory at, address account, uint128 amount) private pure {
        if (amount == 0) return;
        Credit memory credit = record.credits[at.credits++];
        (credit.account, credit.amount) = (account, amount);
        at.others += amount;
    }

    function _countPots(Line[] memory lines) private pure returns (uint256 count) {
        for (uint256 a = 0; a < lines.length; ++a) {
            if (lines[a].gross > 0) count += lines[a].terms.datanetIds.length;
        }
    }

    function _share(uint256 amount, uint256 ppm) private pure returns (uint128) {
        return uint128(amount * ppm / PPM);
    }

    function _shorten(Credit[] memory credits, uint256 length) private pure {
        assembly ("memory-safe") {
            mstore(credits, length)
        }
    }
}
