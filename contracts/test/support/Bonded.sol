// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ContributorBond, IContributorBonds, SignedBatch} from "../../src/interfaces/IContributorBonds.sol";
import {vm} from "./Vm.sol";
import {World} from "./World.sol";

/// @notice The small network with bonds of contributors: `giver` has a key and OPEN, and `curator` owns the Datanets.
abstract contract Bonded is World {
    uint256 internal constant GIVER_KEY = 0x2001;
    uint128 internal constant POSTED = 5 * OPEN;
    bytes32 internal constant OFFER_TYPE = keccak256(
        "OfferRows(bytes32 datanetId,address account,string licence,string consent,uint32 rows,bytes32 rowsRoot)"
    );
    bytes32 internal constant FORFEIT_TYPE = keccak256(
        "ForfeitBond(bytes32 datanetId,address account,bytes32 rowsRoot,uint128 amountMax,bytes32 reason)"
    );

    address internal giver = vm.addr(GIVER_KEY);
    IContributorBonds internal bonds;
    uint256[] internal _keys; // of three curators, ascending by address
    address[] internal _three;

    function setUp() public virtual override {
        super.setUp();
        bonds = IContributorBonds(address(datanets));
        _mayPost(giver);
        _mayPost(stranger);
        _keys = [NODE_KEY, SIGNER_KEY, PAYER_KEY];
        for (uint256 i = 1; i < _keys.length; ++i) {
            for (uint256 at = i; at > 0 && vm.addr(_keys[at]) < vm.addr(_keys[at - 1]); --at) {
                (_keys[at], _keys[at - 1]) = (_keys[at - 1], _keys[at]);
            }
        }
        for (uint256 i = 0; i < _keys.length; ++i) _three.push(vm.addr(_keys[i]));
    }

    function _mayPost(address account) internal {
        token.transfer(account, 1_000 * uint256(OPEN));
        vm.prank(account);
        token.approve(address(bonds), type(uint256).max);
    }

    function _curate(uint32 need) internal {
        address[] memory none = new address[](0);
        vm.prank(curator);
        datanets.setCurators(first, need == 0 ? none : _three, need);
    }

    function _postBy(address poster, uint128 amount) internal {
        bytes32 deciders = bonds.decidersOf(first);
        vm.prank(poster);
        bonds.postBond(first, giver, amount, deciders);
    }

    function _startTakeBack(uint128 amount) internal {
        vm.prank(giver);
        bonds.startTakeBack(first, amount);
    }

    function _held() internal view returns (ContributorBond memory) {
        return bonds.bondOf(first, giver);
    }

    function _batchOf(uint256 key, bytes32 datanetId, address account, bytes32 rowsRoot)
        internal
        view
        returns (SignedBatch memory batch)
    {
        (batch.licenceHash, batch.consentHash) = (keccak256("CC-BY-4.0"), keccak256("I give them."));
        (batch.rows, batch.rowsRoot) = (3, rowsRoot);
        bytes32 content = keccak256(
            abi.encode(OFFER_TYPE, datanetId, account, batch.licenceHash, batch.consentHash, batch.rows, rowsRoot)
        );
        batch.signature = _sign(key, _typed("OpenLedgerDatanets", address(datanets), content));
    }

    function _batch(bytes32 rowsRoot) internal view returns (SignedBatch memory) {
        return _batchOf(GIVER_KEY, first, giver, rowsRoot);
    }

    function _approvalOf(uint256 key, bytes32 datanetId, address account, bytes32 rowsRoot, uint128 amountMax)
        internal
        view
        returns (bytes memory)
    {
        bytes32 content = keccak256(abi.encode(FORFEIT_TYPE, datanetId, account, rowsRoot, amountMax, bytes32("junk")));
        return _sign(key, _typed("OpenLedgerDatanets", address(datanets), content));
    }

    function _approvals(uint256 one, uint256 other, bytes32 rowsRoot) internal view returns (bytes[] memory signed) {
        signed = new bytes[](2);
        signed[0] = _approvalOf(_keys[one], first, giver, rowsRoot, OPEN);
        signed[1] = _approvalOf(_keys[other], first, giver, rowsRoot, OPEN);
    }

    function _forfeitBy(address caller, bytes32 rowsRoot, uint128 amountMax, bytes[] memory signed)
        internal
        returns (uint128)
    {
        SignedBatch memory batch = _batch(rowsRoot);
        vm.prank(caller);
        return bonds.forfeitBond(first, giver, batch, amountMax, "junk", signed);
    }

    function _forfeit(bytes32 rowsRoot, uint128 amountMax) internal returns (uint128) {
        return _forfeitBy(curator, rowsRoot, amountMax, new bytes[](0));
    }

    /// @dev Σ posted = Σ held + taken back + forfeited, where `giver` has the only bond.
    function _checkSums() internal view {
        (uint128 posted, uint128 takenBack, uint128 forfeited) = bonds.bondTotals();
        eq("sum", posted, uint256(_held().held) + takenBack + forfeited);
        eq("held", token.balanceOf(address(bonds)), _held().held);
    }
}
